"""SGD."""

from collections.abc import Iterable
from typing import Any

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.optim.optimizer import Optimizer, check_range

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, with momentum.

        g ← g + λ p,   b ← μ b + (1 − τ) g (first b ← g),   p ← p − lr · b, with Nesterov p ← p − lr · (g + μ b)

    Args:
        params: leaves, or groups of them; those without a gradient at a step are left alone.
        lr: step size.
        momentum: μ; 0: b is g.
        dampening: τ.
        weight_decay: λ.
        nesterov: whether to look ahead.
        maximize: go up instead of down.

    Source: Sutskever et al. 2013, PMLR 28; torch.optim.SGD.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False, maximize: bool = False):
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov, maximize=maximize)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings outside their range."""
        check_range("SGD", group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise UsageError("SGD: nesterov needs a momentum above 0 and no dampening")

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Array]:
        """b, where there is momentum."""
        return {"momentum_buffer": backend_of(p.data).xp.zeros_like(p.data)} if group["momentum"] else {}

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of one parameter."""
        lr, momentum = group["lr"], group["momentum"]
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if momentum:
            b = state["momentum_buffer"]
            b *= momentum
            b += g if state["step"] == 1 else (1 - group["dampening"]) * g
            g = g + momentum * b if group["nesterov"] else b
        p -= lr * g
