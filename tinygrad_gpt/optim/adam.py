"""Adam."""

import math
from collections.abc import Iterable
from typing import Any

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.optim.optimizer import Optimizer, check_range

__all__ = ["Adam", "check_adam", "new_moments"]


class Adam(Optimizer):
    """Steps of a size that the gradient's own mean and variance set.

        g ← g + λ p,   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        p ← p − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    Args:
        params: leaves, or groups of them; those without a gradient at a step are left alone.
        lr: step size.
        betas: decay rates of the moments m and v.
        eps: added to the root.
        weight_decay: λ, added to the gradient; `AdamW` takes it from the parameter itself.
        amsgrad: divide by the largest v so far.
        maximize: go up instead of down.

    Source: Kingma & Ba 2015, arXiv:1412.6980; Reddi et al. 2018, arXiv:1904.09237 (amsgrad); torch.optim.Adam.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0, amsgrad: bool = False, maximize: bool = False):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
                         maximize=maximize)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings outside their range."""
        check_adam("Adam", group)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Array]:
        """m and v, and the largest v."""
        largest = {"max_exp_avg_sq": backend_of(p.data).xp.zeros_like(p.data)} if group["amsgrad"] else {}
        return new_moments(p) | largest

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of one parameter."""
        xp, (beta1, beta2), t = backend_of(p).xp, group["betas"], state["step"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            xp.maximum(largest, v, out=largest)
            v = largest
        root = xp.sqrt(v) / math.sqrt(1 - beta2**t) + group["eps"]
        p -= group["lr"] / (1 - beta1**t) * m / root


def new_moments(p: Tensor) -> dict[str, Array]:
    """m and v of a parameter, zeros."""
    zeros_like = backend_of(p.data).xp.zeros_like
    return {"exp_avg": zeros_like(p.data), "exp_avg_sq": zeros_like(p.data)}


def check_adam(name: str, group: dict[str, Any]) -> None:
    """Refuse settings of Adam or AdamW outside their range.

    Raises:
        UsageError: "Adam: betas are (1, 2); expected two numbers from 0 to below 1".
    """
    check_range(name, group, "lr", "eps", "weight_decay")
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UsageError(f"{name}: betas are {betas}; expected two numbers from 0 to below 1")
