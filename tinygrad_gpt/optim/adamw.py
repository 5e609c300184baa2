"""AdamW."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, listed
from tinygrad_gpt.ops.cuda.launch import Kernels
from tinygrad_gpt.ops.cuda.many_arrays import one_launch, spans
from tinygrad_gpt.optim.adam import check_adam, new_moments
from tinygrad_gpt.optim.optimizer import Optimizer

__all__ = ["AdamW"]

KERNELS = Kernels("adamw")
CHUNK = 1 << 14  # elements: with their gradient and both moments they stay in a core's cache


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        p ← p − lr · λ p − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    Args:
        params: leaves, or groups of them; those without a gradient at a step are left alone.
        lr: step size; assign to ``lr`` to follow a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        weight_decay: λ, for tensors with at least ``decayed_axes`` axes.
        decayed_axes: 0 for all, as in torch; 2 for matrices only, as GPT-2's successors were trained: biases and norms
            keep their size.
        maximize: go up instead of down.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101; torch.optim.AdamW.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.01, decayed_axes: int = 0, *, maximize: bool = False):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decayed_axes=decayed_axes,
                         maximize=maximize)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings outside their range."""
        check_adam("AdamW", group)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Array]:
        """m and v."""
        return new_moments(p)

    def share(self, array: Array) -> Array:
        """What this process updates of an array that is like a parameter: all of it."""
        return array

    def whole(self, moment: Array, p: Tensor) -> np.ndarray:
        """A moment of a parameter, on the host."""
        return backend_of(moment).to_numpy(moment)

    @property
    def moments(self) -> list[tuple[Array, Array]]:
        """m and v of each parameter."""
        return [(self.state[p]["exp_avg"], self.state[p]["exp_avg_sq"]) for p in self.parameters]

    def update_all(self, pairs: list[tuple[Tensor, Array]], group: dict[str, Any]) -> None:
        """As in `Optimizer`, in as few launches as there are kinds of parameters."""
        together: dict[tuple, list] = {}
        for p, g in pairs:
            state = self.state[p]
            m, v = state["exp_avg"], state["exp_avg_sq"]
            decay = group["weight_decay"] if p.ndim >= group["decayed_axes"] else 0.0
            settings = *_rate_and_eps(group, state["step"]), 1 - group["lr"] * decay
            arrays = self.share(p.data), self.share(-g if group["maximize"] else g), m, v
            if one_launch(arrays):
                together.setdefault((type(m), m.dtype, settings), []).append(arrays)
            elif _is_compiled(arrays):
                _in_one_loop(group["betas"], settings, *(a.reshape(-1) for a in arrays))
            else:
                _in_chunks(group["betas"], settings, *(a.reshape(a.shape or (1,)) for a in arrays))  # never copies
        for (_, _, settings), kind in together.items():
            _in_one_launch(group["betas"], settings, *map(list, zip(*kind, strict=True)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Steps and moments on the host, in the order of the parameters, for a checkpoint."""
        state = {"steps": np.array(self.steps)}
        for i, (p, (m, v)) in enumerate(zip(self.parameters, self.moments, strict=True)):
            state[f"m.{i}"], state[f"v.{i}"] = self.whole(m, p), self.whole(v, p)
        return state | {f"updates.{i}": np.array(self.state[p]["step"]) for i, p in enumerate(self.parameters)
                        if self.state[p]["step"] != self.steps}

    def load_arrays(self, state: dict[str, np.ndarray]) -> None:
        """Continue from the ``arrays`` of an optimiser over the same parameters.

        Raises:
            CheckpointError: lists what is missing, unexpected or misshapen; nothing was changed.
        """
        own = {f"{kind}.{i}": a for i, pair in enumerate(self.moments) for kind, a in zip("mv", pair, strict=True)}
        shapes = {name: self.parameters[int(name[2:])].shape for name in own}
        counts = {"steps", *(f"updates.{i}" for i in range(len(self.parameters)))}
        problems = [f"missing {name}" for name in ("steps", *own) if name not in state]
        problems += [f"unexpected {name}" for name in state if name not in own and name not in counts]
        problems += [f"{name} is {np.shape(state[name])}, expected {shape}" for name, shape in shapes.items()
                     if name in state and np.shape(state[name]) != shape]
        problems = problems or [*_odd_values(state, counts)]
        if problems:
            raise CheckpointError(f"AdamW: the state does not fit: {listed(problems, '; ')}; "
                                  "was it saved with other parameters trained?")
        self.steps = int(state["steps"])
        for i, p in enumerate(self.parameters):
            self.state[p]["step"] = int(state.get(f"updates.{i}", self.steps))
        for name, a in own.items():
            a[...] = self.share(backend_of(a).from_numpy(state[name]))


def _odd_values(state, counts):
    """What cannot be in a state whose names and shapes are right: every step would be wrong after it."""
    for name, values in state.items():
        if name in counts:
            if np.shape(values) or np.asarray(values).dtype.kind not in "iu" or not 0 <= values <= state["steps"]:
                yield f"{name} is not a whole number from 0 to the number of steps"
        elif np.asarray(values).dtype.kind != "f" or not np.isfinite(values).all():
            yield f"{name} holds values that are not finite"
        elif name.startswith("v.") and (np.asarray(values) < 0).any():
            yield f"{name} holds values below 0, which no mean of squares is"


def _rate_and_eps(group, t):
    """m / (1 − β₁ᵗ) / (√v / root + ε) = m · root / (1 − β₁ᵗ) / (√v + ε root), with root = √(1 − β₂ᵗ)."""
    beta1, beta2 = group["betas"]
    root = math.sqrt(1 - beta2**t)
    return group["lr"] * root / (1 - beta1**t), group["eps"] * root


def _in_chunks(betas, settings, *arrays):
    backend, length = backend_of(arrays[0]), len(arrays[0])
    chunk = max(1, CHUNK * length // max(1, arrays[0].size)) if backend.on_host else max(1, length)  # rows
    for i in range(0, length, chunk):
        _update(backend.xp, betas, settings, *(a[i:i + chunk] for a in arrays))


def _in_one_launch(betas, settings, parameters, *others):
    work, (rate, eps, keep) = spans(backend_of(parameters[0]), tuple(p.size for p in parameters)), settings
    KERNELS.launch("adamw", parameters[0], len(work), parameters, *others, work, *map(float, (*betas, keep, rate, eps)))


def _is_compiled(arrays):
    return (current_mode().ops == "compiled" and backend_of(arrays[0]).on_host
            and all(a.flags.c_contiguous for a in arrays))


def _in_one_loop(betas, settings, p, g, m, v):
    from tinygrad_gpt.ops.compiled import kernels  # numba, which is there in this mode alone

    rate, eps, keep = settings
    kernels.adamw(p, g, m, v, tuple(map(p.dtype.type, (*betas, keep, rate, eps))))


def _update(xp, betas, settings, p, g, m, v):
    (beta1, beta2), (rate, eps, keep) = betas, settings
    t = g - m
    t *= 1 - beta1
    m += t
    xp.multiply(g, g, out=t)
    t *= 1 - beta2
    v *= beta2
    v += t
    xp.sqrt(v, out=t)
    t += eps
    xp.divide(m, t, out=t)
    t *= rate
    if keep != 1:
        p *= keep
    p -= t
