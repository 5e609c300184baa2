"""A function of Tensors, called with arrays."""

from collections.abc import Callable

import numpy as np

from tinygrad_gpt.engine import Tensor

__all__ = ["on_tensors"]


def on_tensors(layer: Callable, ops, arrays: tuple) -> tuple[np.ndarray, Callable]:
    """The result of ``layer(ops, *tensors)``, and a function that maps its gradient to those of the arrays.

    Raises:
        TypeError: "the result is ndarray, not a Tensor".
    """
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    y = layer(ops, *leaves)
    if not isinstance(y, Tensor):
        raise TypeError(f"the result is {type(y).__name__}, not a Tensor: compute it with ops")

    def grads(g):
        for leaf in leaves:
            leaf.zero_grad()
        if y.node is not None:
            y.backward(g, retain_graph=True)
        return tuple(np.zeros_like(a) if leaf.grad is None else leaf.grad.numpy().copy()
                     for a, leaf in zip(arrays, leaves, strict=True))

    return y.numpy(), grads
