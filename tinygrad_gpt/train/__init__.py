"""Training steps and the figures that judge a model."""

from tinygrad_gpt.train.metrics import ClassFigures, Report, judge
from tinygrad_gpt.train.progress import Progress
from tinygrad_gpt.train.step import train_step

__all__ = ["ClassFigures", "Progress", "Report", "judge", "train_step"]
