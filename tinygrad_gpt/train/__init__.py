"""Training steps and the figures that judge a model."""

from tinygrad_gpt.train.loss_scale import LossScale
from tinygrad_gpt.train.metrics import ClassFigures, Report, judge
from tinygrad_gpt.train.perplexity import Perplexity, measure_perplexity
from tinygrad_gpt.train.progress import Preparation, Progress
from tinygrad_gpt.train.step import train_step

__all__ = ["ClassFigures", "LossScale", "Perplexity", "Preparation", "Progress", "Report", "judge",
           "measure_perplexity", "train_step"]
