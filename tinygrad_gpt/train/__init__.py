"""Training steps and the figures that judge a model."""

from tinygrad_gpt.train.step import Progress, train_step

__all__ = ["Progress", "train_step"]
