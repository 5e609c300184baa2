"""Training steps."""

from tinygrad_gpt.train.batch import Batch, losses_of, relative_counts
from tinygrad_gpt.train.loss_scale import LossScale
from tinygrad_gpt.train.step import train_step

__all__ = ["Batch", "LossScale", "losses_of", "relative_counts", "train_step"]
