"""Low-rank adaptation: frozen linear layers learn an update of low rank.

    y = x W + b + (alpha / rank) · x A B,   A (n_in, rank), B (rank, n_out), B = 0 at the start

Source: Hu et al. 2021, arXiv:2106.09685. The code of Raschka's book multiplies by alpha alone, which changes the
learning rate with the rank; to reproduce its runs pass alpha · rank.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.nn import Conv1D, Module, Parameter
from tinygrad_gpt.nn.precision_casts import to_compute

__all__ = [
    "BLOCK_LAYERS", "LoRALinear", "LowRank", "apply_lora", "merge_lora", "uniform_by_inputs",
]

BLOCK_LAYERS = ("q", "k", "v", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # q, k and v are the thirds of attn.c_attn


class LowRank(Module):
    """``x A B`` with ``a`` (n_in, rank) and ``b`` (rank, n_out), zeros at first."""

    def __init__(self, a: np.ndarray, n_out: int):
        self.a = Parameter(a)
        self.b = Parameter(np.zeros((a.shape[1], n_out), a.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) -> (..., n_out)"""
        return ops.linear(ops.linear(to_compute(x), to_compute(self.a)), to_compute(self.b))

    def matrix(self):
        """A B, raw, (n_in, n_out)."""
        return self.a.data @ self.b.data


class LoRALinear(Conv1D):
    """A linear layer with updates of low rank for some of the equal parts of its outputs.

    Args:
        linear: the layer; its weights are used, not copied.
        updates: one for each part, None for a part that stays as it is.
        scale: of the updates.
    """

    def __init__(self, linear: Conv1D, updates: Sequence[LowRank | None], scale: float):
        self.weight, self.bias = linear.weight, linear.bias
        self.lora, self.scale = list(updates), scale

    def forward(self, x: Tensor) -> Tensor:
        return self._updated(super().forward(x), x, self.lora)

    def product(self, x: Tensor) -> Tensor:
        """As in `Conv1D`, updates included."""
        return self._updated(super().product(x), x, self.lora)

    def columns(self, x: Tensor, start: int, stop: int) -> Tensor:
        """As in `Conv1D`; start and stop lie between parts."""
        width = self.weight.shape[1] // len(self.lora)
        return self._updated(super().columns(x, start, stop), x, self.lora[start // width:stop // width])

    def weight_columns(self, start: int, stop: int) -> Tensor:
        """As in `Conv1D`, updates included; start and stop are those of one part."""
        update = self.lora[start * len(self.lora) // self.weight.shape[1]]
        weight = super().weight_columns(start, stop)
        return weight + ops.matmul(update.a, update.b) * self.scale if update else weight

    def _updated(self, y: Tensor, x: Tensor, updates: Sequence[LowRank | None]) -> Tensor:
        if not any(updates):
            return y
        shape = (*y.shape[:-1], y.shape[-1] // len(updates))
        zeros = backend_of(y.data).xp.zeros(shape, dtype=y.dtype)
        parts = [update(x) if update else Tensor(zeros) for update in updates]
        return y + (parts[0] if len(parts) == 1 else ops.concat(*parts, axis=-1)) * self.scale

    def merged(self) -> Conv1D:
        """A plain layer that computes the same; this one stays as it is."""
        n_in, n_out = self.weight.shape
        plain = Conv1D(n_in, n_out, None, bias=self.bias is not None)
        plain.bias = self.bias
        weight, width = self.weight.data.copy(), n_out // len(self.lora)
        for i, update in enumerate(self.lora):
            if update:
                weight[:, i * width:(i + 1) * width] += update.matrix() * self.scale
        plain.weight.data = weight
        return plain


def uniform_by_inputs(seed: int) -> Callable[[int, int], np.ndarray]:
    """Initial values of A, uniform between ±1/√n_in, as the authors' loralib draws them."""
    generator = np.random.default_rng(seed)

    def draw(n_in: int, rank: int) -> np.ndarray:
        bound = 1 / math.sqrt(n_in)
        return generator.uniform(-bound, bound, (n_in, rank)).astype(np.float32)

    return draw


def apply_lora(model: Module, rank: int, alpha: float, targets: Sequence[str] = BLOCK_LAYERS,
               draw: Callable[[int, int], np.ndarray] | None = None) -> None:
    """Freeze a model and give some of its linear layers trainable updates; its output does not change yet.

    Args:
        model: a GPT2 or Bert, or a classifier made of one.
        rank, alpha: of every update; it is multiplied by alpha / rank.
        targets: ends of layer names, such as "mlp.c_fc" or "score"; "q", "k" and "v" are thirds of attn.c_attn, with
            an update each.
        draw: ``draw(n_in, rank)`` gives the initial values of A, float32; None: `uniform_by_inputs` with seed 0.

    Raises:
        UsageError: "LoRA: no linear layer is called 'mlp'; …".
    """
    if rank < 1:
        raise UsageError(f"LoRA: rank is {rank}, expected at least 1")
    draw = draw or uniform_by_inputs(0)
    layers = list(_linear_layers(model))
    for target in targets:
        if not any(any(_parts(name, [target])) for name, *_ in layers):
            names = [name for name in (*BLOCK_LAYERS, "score") if any(any(_parts(each, [name])) for each, *_ in layers)]
            raise UsageError(f"LoRA: no linear layer of this model is called {target!r}; choose from "
                             f"{', '.join(names)}")
    model.freeze()
    for name, parent, attribute, layer in layers:
        parts = _parts(name, targets)
        if any(parts):
            n_in, n_out = layer.weight.shape
            updates = [LowRank(draw(n_in, rank), n_out // len(parts)) if part else None for part in parts]
            setattr(parent, attribute, LoRALinear(layer, updates, alpha / rank))


def merge_lora(model: Module) -> None:
    """Add all updates to the weights that they belong to, and leave plain layers."""
    for _, parent, attribute, layer in list(_linear_layers(model)):
        if isinstance(layer, LoRALinear):
            setattr(parent, attribute, layer.merged())


def _linear_layers(model: Module) -> Iterator[tuple[str, Module, str, Conv1D]]:
    """Name, parent, attribute in it, and layer."""
    for prefix, parent in model.named_modules():
        for attribute, layer in list(vars(parent).items()):
            if isinstance(layer, Conv1D):
                yield (f"{prefix}.{attribute}" if prefix else attribute), parent, attribute, layer


def _parts(name: str, targets: Sequence[str]) -> list[bool]:
    """Which of the equal parts of a layer's outputs are targets."""
    if name.endswith("attn.c_attn"):
        return [part in targets for part in "qkv"]
    return [any(name == target or name.endswith(f".{target}") for target in targets)]
