"""Gradients, Jacobians, Hessians and their products as functions, with the names and habits of PyTorch.

Source: torch.autograd.grad and torch.autograd.functional.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.higher_order import walk_on_tensors
from tinygrad_gpt.engine.pending import Pending
from tinygrad_gpt.engine.tape import walk
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, TapeError

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp"]

Tensors = Tensor | Sequence[Tensor]


def grad(outputs: Tensors, inputs: Tensors, grad_outputs: Any = None, *, retain_graph: bool | None = None,
         create_graph: bool = False, allow_unused: bool = False) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of some outputs with respect to some inputs. No tensor's ``grad`` changes.

    Args:
        outputs: one tensor or several.
        inputs: one or several, leaves or not, that the outputs were computed from.
        grad_outputs: gradient with respect to each output, of its shape; None: 1, for outputs of one value.
        retain_graph: keep the graph, so that it can be used again; None: as ``create_graph``.
        create_graph: record the pass, so that the gradients can be differentiated.
        allow_unused: give None for an input that the outputs do not depend on, or that does not require gradients.

    Returns:
        One gradient for each input, of its shape.

    Raises:
        TapeError: "grad: inputs[1] is not among what the outputs were computed from; …"; "grad: inputs[0] does not
            require gradients; …".
        ShapeError: "grad_outputs: expected 1, one for each tensor, got 2".

    Source: torch.autograd.grad

    Example:
        >>> x = Tensor([2.0], requires_grad=True)
        >>> (slope,) = grad(x ** 3.0, x, create_graph=True)  # 3 x²
        >>> grad(slope, x)  # 6 x
        (Tensor([12.]),)
    """
    outputs, inputs = _tuple(outputs), _tuple(inputs)
    given = (None,) * len(outputs) if grad_outputs is None else _one_each(grad_outputs, outputs, "grad_outputs")
    if not allow_unused:
        _require_gradients(inputs)
    roots = [(y, y.as_cotangent(g, "grad")) for y, g in zip(outputs, given, strict=True)]
    wanted = {x._node for x in inputs}
    if create_graph:
        found = dict(walk_on_tensors(roots, wanted))
    else:
        played = walk(Pending((y._node, g._data) for y, g in roots), wanted=wanted, retain_graph=bool(retain_graph))
        found = {node: Tensor(backend_of(g).xp.array(g)) for node, g, _ in played if node in wanted}
    for i, x in enumerate(inputs):
        if x._node not in found and not allow_unused:
            raise TapeError(f"grad: inputs[{i}] is not among what the outputs were computed from; leave it out, or "
                            "pass allow_unused=True")
    return tuple(found.get(x._node) for x in inputs)


def _require_gradients(inputs) -> None:
    """Refuse a tensor that is on no tape, before the graph is used."""
    for i, x in enumerate(inputs):
        if x._node is None:
            raise TapeError(f"grad: inputs[{i}] does not require gradients; make it with requires_grad=True, before "
                            "the outputs are computed from it")


def jvp(func: Callable, inputs: Tensors, v: Any = None) -> tuple[Tensor, Tensor]:
    """The result of a function and its Jacobian times a vector, by reverse mode twice.

    The gradient g = Jᵀ u is linear in u, so its gradient along v with respect to u is J v.

    Args:
        func: ``func(*inputs)`` is one tensor.
        inputs: one tensor or several.
        v: a direction for each input, of its shape; None: ones.

    Returns:
        The result, and the directional derivative, of the same shape.

    Source: torch.autograd.functional.jvp; the trick is J. Townsend's, "A new trick for calculating Jacobian vector
    products", 2017.
    """
    leaves = _leaves(inputs)
    y = _result(func, leaves)
    u = Tensor(np.zeros(y.shape, y.dtype), requires_grad=True, backend=backend_of(y.data).name)
    grads = grad(y, leaves, u, create_graph=True, allow_unused=True)
    pairs = [(g, d) for g, d in zip(grads, _directions(leaves, v), strict=True) if g is not None]
    products = grad([g for g, _ in pairs], u, [d for _, d in pairs])
    return y.detach(), Tensor(products[0])


def hvp(func: Callable, inputs: Tensors, v: Any = None) -> tuple[Tensor, Any]:
    """The value of a scalar function and its Hessian times a vector.

    Args:
        func: ``func(*inputs)`` is one value.
        inputs, v: as in `jvp`.

    Returns:
        The value, and the product: a tensor, or a tuple if ``inputs`` is one.

    Source: torch.autograd.functional.hvp; Pearlmutter 1994, "Fast exact multiplication by the Hessian"
    """
    leaves = _leaves(inputs)
    y = _result(func, leaves)
    return y.detach(), _like(inputs, _products(y, leaves, _directions(leaves, v)))


def jacobian(func: Callable, inputs: Tensors) -> Any:
    """The Jacobian of a function, one backward pass for each number of its result.

    Args:
        func, inputs: as in `jvp`.

    Returns:
        For each input an array of the shape of the result followed by that of the input; a tuple if ``inputs`` is one.

    Source: torch.autograd.functional.jacobian
    """
    leaves = _leaves(inputs)
    y = _result(func, leaves)
    rows = [grad(y, leaves, unit, retain_graph=True, allow_unused=True) for unit in _units(y)]
    return _like(inputs, [_stacked([row[i] for row in rows], y, x) for i, x in enumerate(leaves)])


def hessian(func: Callable, inputs: Tensors) -> Any:
    """The Hessian of a scalar function, one backward pass for each number of its inputs.

    Args:
        func: ``func(*inputs)`` is one value.
        inputs: as in `jvp`.

    Returns:
        An array of the shape of the input twice; if ``inputs`` is a tuple, a tuple of tuples, [i][j] of the shape of
        input i followed by that of input j.

    Source: torch.autograd.functional.hessian
    """
    leaves = _leaves(inputs)
    grads = _gradients(_result(func, leaves), leaves)
    blocks = []
    for g, x in zip(grads, leaves, strict=True):
        rows = [_of_gradients([g], leaves, [unit]) for unit in _units(x)]
        blocks.append(_like(inputs, [_stacked([row[j] for row in rows], x, other) for j, other in enumerate(leaves)]))
    return _like(inputs, blocks)


def _tuple(tensors) -> tuple:
    return tuple(tensors) if isinstance(tensors, (list, tuple, Iterator)) else (tensors,)


def _one_each(given, tensors, what) -> tuple:
    """One value for each of some tensors."""
    given = _tuple(given)
    if len(given) != len(tensors):
        raise ShapeError(f"{what}: expected {len(tensors)}, one for each tensor, got {len(given)}")
    return given


def _like(inputs, results):
    """All results, or the only one where there was one tensor."""
    return tuple(results) if isinstance(inputs, (list, tuple)) else results[0]


def _leaves(inputs) -> list[Tensor]:
    """Leaves with the values of the inputs, on a tape of their own."""
    return [Tensor(x.detach() if isinstance(x, Tensor) else x, requires_grad=True) for x in _tuple(inputs)]


def _result(func, leaves) -> Tensor:
    y = func(*leaves)
    if not isinstance(y, Tensor):
        raise TapeError(f"func: returned {type(y).__name__}, expected one Tensor; compute it from the arguments with "
                        "operators and ops")
    return y


def _directions(leaves, v) -> list[Tensor]:
    if v is None:
        return [Tensor(backend_of(x.data).xp.ones(x.shape, dtype=x.dtype)) for x in leaves]
    return [x.as_cotangent(d, "direction") for x, d in zip(leaves, _one_each(v, leaves, "v"), strict=True)]


def _gradients(y, leaves) -> list[Tensor | None]:
    """The gradients of one value, which can be differentiated; None where it does not depend on a leaf."""
    return list(grad(y, leaves, create_graph=True, allow_unused=True))


def _products(y, leaves, directions):
    """The Hessian of y times the directions, one part for each leaf."""
    pairs = [(g, d) for g, d in zip(_gradients(y, leaves), directions, strict=True) if g is not None]
    return _of_gradients([g for g, _ in pairs], leaves, [d for _, d in pairs])


def _of_gradients(grads, leaves, along):
    """Gradients of ⟨grads, along⟩ with respect to the leaves, zeros where constant; the graph is kept."""
    there = [(g, a) for g, a in zip(grads, along, strict=True) if g is not None and g.requires_grad]
    found = grad([g for g, _ in there], leaves, [a for _, a in there], retain_graph=True, allow_unused=True)
    return [Tensor(backend_of(x.data).xp.zeros(x.shape, dtype=x.dtype)) if g is None else g
            for g, x in zip(found, leaves, strict=True)]


def _units(y):
    """The unit vectors of the space of y, each of its shape."""
    for i in range(y.size):
        unit = np.zeros(y.size, y.dtype)
        unit[i] = 1
        yield unit.reshape(y.shape)


def _stacked(rows, y, x):
    """Rows of a Jacobian, None standing for zeros, as one tensor of y's shape followed by x's."""
    xp = backend_of(x.data).xp
    arrays = [xp.zeros(x.shape, dtype=x.dtype) if row is None else row.data for row in rows]
    return Tensor(xp.stack(arrays).reshape((*y.shape, *x.shape)) if arrays else xp.zeros((*y.shape, *x.shape), x.dtype))
