"""AdamW."""

import math
from collections.abc import Iterable

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.ops.cuda.launch import Kernels
from tinygrad_gpt.optim.many_arrays import one_launch, spans

__all__ = ["AdamW"]

KERNELS = Kernels("adamw")
CHUNK = 1 << 14  # elements: with their gradient and both moments they stay in a core's cache


class AdamW:
    """Adam with decoupled weight decay, by default of matrices only (biases and norms keep their size).

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        p ← p − lr · λ p − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    Args:
        parameters: leaves; those without a gradient at a step are left alone.
        lr: step size; assign to ``lr`` to follow a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        weight_decay: λ, for tensors with at least ``decayed_axes`` axes.
        decayed_axes: 2 for matrices only, as GPT-2's successors were trained; 0 for all, as torch does by itself.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101; torch.optim.AdamW.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.01, decayed_axes: int = 2):
        self.parameters = list(parameters)
        if not self.parameters:
            raise UsageError("AdamW: no parameters; is the whole model frozen?")
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.steps, self.decayed_axes = 0, decayed_axes
        self.moments = [(backend_of(p.data).xp.zeros_like(p.data), backend_of(p.data).xp.zeros_like(p.data))
                        for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        self.steps += 1
        together: dict[tuple, list] = {}
        for parameter, (m, v) in zip(self.parameters, self.moments, strict=True):
            if parameter.grad is None:
                continue
            decay = self.weight_decay if parameter.ndim >= self.decayed_axes else 0.0
            arrays = parameter.data, parameter.grad.data, m, v
            if one_launch(arrays):
                together.setdefault((type(m), m.dtype, decay), []).append(arrays)
            else:
                self._in_chunks(decay, *(a.reshape(parameter.shape or (1,)) for a in arrays))  # views, never copies
            parameter.mark_changed()
        for (_, _, decay), group in together.items():
            self._in_one_launch(decay, *map(list, zip(*group, strict=True)))

    def _in_chunks(self, decay, *arrays):
        backend, length = backend_of(arrays[0]), len(arrays[0])
        chunk = max(1, CHUNK * length // max(1, arrays[0].size)) if backend.on_host else max(1, length)  # rows
        for i in range(0, length, chunk):
            self._update(backend.xp, decay, *(a[i:i + chunk] for a in arrays))

    def _in_one_launch(self, decay, parameters, *others):
        work = spans(backend_of(parameters[0]), tuple(p.size for p in parameters))
        settings = *self.betas, 1 - self.lr * decay, *self._rate_and_eps()
        KERNELS.launch("adamw", parameters[0], len(work), parameters, *others, work, *map(float, settings))

    def _rate_and_eps(self):
        """m / (1 − β₁ᵗ) / (√v / root + ε) = m · root / (1 − β₁ᵗ) / (√v + ε root), with root = √(1 − β₂ᵗ)."""
        beta1, beta2 = self.betas
        root = math.sqrt(1 - beta2**self.steps)
        return self.lr * root / (1 - beta1**self.steps), self.eps * root

    def _update(self, xp, decay, p, g, m, v):
        (beta1, beta2), (rate, eps) = self.betas, self._rate_and_eps()
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
        if decay:
            p *= 1 - self.lr * decay
        p -= t

    def arrays(self) -> dict[str, np.ndarray]:
        """Steps and moments on the host, in the order of the parameters."""
        state = {"steps": np.array(self.steps)}
        for i, (m, v) in enumerate(self.moments):
            state[f"m.{i}"], state[f"v.{i}"] = backend_of(m).to_numpy(m), backend_of(v).to_numpy(v)
        return state

    def load_arrays(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a ``arrays`` of an optimiser over the same parameters.

        Raises:
            CheckpointError: lists all that is missing, unexpected or misshapen; nothing was changed.
        """
        own = {f"{kind}.{i}": a for i, pair in enumerate(self.moments) for kind, a in zip("mv", pair, strict=True)}
        problems = [f"missing {name}" for name in ("steps", *own) if name not in state]
        problems += [f"unexpected {name}" for name in state if name != "steps" and name not in own]
        problems += [f"{name} is {np.shape(state[name])}, expected {a.shape}" for name, a in own.items()
                     if name in state and np.shape(state[name]) != a.shape]
        if problems:
            raise CheckpointError(f"AdamW: the state does not fit: {'; '.join(problems)}; "
                                  "was it saved with other parameters trained?")
        self.steps = int(state["steps"])
        for name, a in own.items():
            a[...] = backend_of(a).from_numpy(state[name])
