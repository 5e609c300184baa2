"""The optimiser, the schedule, clipping."""

from tinygrad_gpt.optim.adamw import AdamW
from tinygrad_gpt.optim.clip import clip_grad_norm, grad_norm, grad_squares, scale_gradients
from tinygrad_gpt.optim.schedule import warmup_cosine

__all__ = ["AdamW", "clip_grad_norm", "grad_norm", "grad_squares", "scale_gradients", "warmup_cosine"]
