"""Training steps."""

from tinygrad_gpt.train.loss_scale import LossScale
from tinygrad_gpt.train.step import relative_counts, train_step

__all__ = ["LossScale", "relative_counts", "train_step"]
