"""One forward and one backward pass of an op on given arguments, and what the checks of the sweep need around it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_gpt.backend import get_backend, is_integer
from tinygrad_gpt.engine import Op, Tensor
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.study.gradcheck import NOT_DIFFERENTIATED, Draw, split_sample

__all__ = ["NOT_DIFFERENTIATED", "Call", "Sample", "cast", "error", "is_differentiated", "is_float", "samples",
           "to_backend"]


class Sample(NamedTuple):
    """Arguments and settings of one call of an op."""

    arguments: tuple
    settings: dict


def samples(op: Op, seed: int = 0) -> list[Sample]:
    """The samples that an op was registered with."""
    return [Sample(*split_sample(sample)) for sample in op.samples(Draw(seed))]


def is_float(x: Any) -> bool:
    """Whether it is an array of floats."""
    return isinstance(x, np.ndarray) and not is_integer(x.dtype)


def is_differentiated(op: Op, i: int, x: Any) -> bool:
    """Whether the op has a gradient of its i-th argument, which is x."""
    return is_float(x) and (op.name, i) not in NOT_DIFFERENTIATED


def to_backend(value: Any, backend) -> Any:
    """NumPy arrays, also inside tuples and settings, as arrays of the backend."""
    if isinstance(value, np.ndarray):
        return backend.from_numpy(value)
    if isinstance(value, tuple):
        return tuple(to_backend(v, backend) for v in value)
    return {k: to_backend(v, backend) for k, v in value.items()} if isinstance(value, dict) else value


def cast(value: Any, dtype) -> Any:
    """An array of floats, or a NumPy scalar, in another dtype; anything else as it is."""
    return np.asarray(value, dtype) if is_float(value) or isinstance(value, np.floating) else value


class Call:
    """One forward and backward pass of an op: result and gradients on the host, everything else as it was.

    Args:
        op, arguments, settings: what is called; a gradient is asked for of every argument that can have one.
        seed: of the cotangent, where none is given.
        backend: name of the backend on which it runs.
        cotangent: the gradient of the result, of its shape.
        retain_graph: whether a second backward pass is possible.

    Attributes:
        arrays, leaves: the arguments on the backend, and the same as Tensors where they are differentiated.
        result: the Tensor that the op returned.
        saved: the arrays that its pullbacks capture, by name.
        grads: one for each argument; None where there is none.
    """

    def __init__(self, op: Op, arguments: Sequence, settings: dict, seed: int = 1, backend: str = "numpy",
                 cotangent: np.ndarray | None = None, retain_graph: bool = False):
        self.op, self.backend = op, get_backend(backend)
        self.arrays = [to_backend(a, self.backend) for a in arguments]
        settings = to_backend(settings, self.backend)
        self.leaves = [Tensor(array, requires_grad=True) if is_differentiated(op, i, a) else array
                       for i, (a, array) in enumerate(zip(arguments, self.arrays, strict=True))]
        self.result = op(*self.leaves, **settings)
        if cotangent is None:
            cotangent = Draw(seed).normal(*self.result.shape).astype(self.result.dtype)
        self.cotangent = self.backend.from_numpy(cotangent)
        self.saved = {}
        if self.result.node:  # else no pullback is there
            self.saved = saved_arrays(self.result.node.pullbacks)
            self.result.backward(self.cotangent, retain_graph=retain_graph)
        self.grads = [leaf.grad if isinstance(leaf, Tensor) else None for leaf in self.leaves]

    def values(self) -> list[np.ndarray]:
        """Result and gradients as NumPy arrays."""
        return [t.numpy() for t in (self.result, *self.grads) if t is not None]


def error(a, b) -> float:
    """Largest difference relative to the larger of 1 and the largest value; infinite for arrays of other shapes."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind == "f" and np.isnan(a).any():  # NaN where NaN is expected is no difference
        a, b = (np.where(np.isnan(a) & np.isnan(b), 0.0, x) for x in (a, b))
    return float(np.abs(a - b).max(initial=0) / max(1.0, np.abs(b).max(initial=0)))
