"""Training steps."""

from tinygrad_gpt.train.loss_scale import LossScale
from tinygrad_gpt.train.step import train_step

__all__ = ["LossScale", "train_step"]
