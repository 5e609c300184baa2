"""Optimisers and the schedule."""

from tinygrad_gpt.optim.adam import Adam
from tinygrad_gpt.optim.adamw import AdamW
from tinygrad_gpt.optim.optimizer import Optimizer
from tinygrad_gpt.optim.schedule import warmup_cosine
from tinygrad_gpt.optim.sgd import SGD
from tinygrad_gpt.optim.sharded import ShardedAdamW

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "ShardedAdamW", "warmup_cosine"]
