"""Layer normalisation from means."""

from tinygrad_gpt.engine import composed
from tinygrad_gpt.ops.elementwise import sqrt
from tinygrad_gpt.ops.reduce import mean

__all__ = ["layer_norm"]


@composed("layer_norm")
def layer_norm(x, weight, bias, *, eps=1e-5):
    centred = x - mean(x, axis=-1, keepdims=True)
    variance = mean(centred * centred, axis=-1, keepdims=True)
    return weight * (centred / sqrt(variance + eps)) + bias
