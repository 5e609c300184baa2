"""Derivatives of derivatives: the walk back over the tape, itself recorded on the tape.

The plain form of an op is pure, so it runs on everything that has the interface of an array, Tensors among them. Given
Tensors and a namespace whose functions are the ops (`OnTensors`), it returns pullbacks that compute with recorded ops.
So one line of `ops/` is the rule for the first derivative and, differentiated by the rules of the ops that it calls,
for all others.

The values that the pullbacks need are computed again, by a second forward pass: a first-order backward pass keeps no
more memory for this, and no flag has to be set beforehand.
"""

from collections.abc import Container, Iterable
from typing import Any

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.mistakes import check_joint
from tinygrad_gpt.engine.mode import no_grad, switched
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.pending import Pending
from tinygrad_gpt.engine.registry import OPS
from tinygrad_gpt.engine.tape import Node, changed_in_place, nodes_below, walk
from tinygrad_gpt.engine.tensor import Tensor, wrapped
from tinygrad_gpt.errors import ShapeError, TapeError

__all__ = ["OnTensors", "walk_on_tensors"]

OTHER_NAMES = {"concatenate": "concat"}  # of an op, where NumPy's name is another
# Functions that are constant wherever they have a derivative.
CONSTANT = frozenset({"equal", "greater", "greater_equal", "isfinite", "less", "less_equal", "logical_not", "not_equal",
                      "ones_like", "sign", "zeros_like"})


def walk_on_tensors(roots: Iterable[tuple[Tensor, Tensor]],
                    wanted: Container[Node] = ()) -> list[tuple[Node, Tensor]]:
    """`walk`, recorded: pairs of a node and its gradient, a Tensor that can itself be differentiated.

    Args:
        roots: pairs of a tensor and the gradient with respect to it.
        wanted: nodes whose gradients are returned, besides leaves and others that keep theirs.

    Raises:
        TapeError: the graph was freed, a value was changed in place, or an op has no second derivative.
    """
    nodes: Any = [(tensor._node, g) for tensor, g in roots]
    values = _values([node for node, _ in nodes])
    with switched(recording=True):
        return [(node, g) for node, g, _ in walk(PendingTensors(nodes), wanted=wanted, retain_graph=True,
                                                 pull=lambda node, g: _pull(node, g, values))]


class PendingTensors(Pending):
    """Gradients that are Tensors: sums are recorded, nothing is added in place."""

    def add(self, node, grad, given=None):
        """Add a gradient to that of a node."""
        if node in self.grads:
            self.grads[node] = self.grads[node] + grad
        else:
            super().add(node, grad)


def _values(roots: list[Node]) -> dict[Node, Array]:
    """The results of all ops below the roots that other ops take, computed again."""
    values: dict[Node, Array] = {}
    nodes = nodes_below(*roots)
    taken = {source for node in nodes for source in node.inputs}
    with no_grad():
        for node in nodes:
            if node.op is None:
                continue
            node.check_alive()
            if OPS.get(node.op.name) != node.op:
                raise TapeError(f"create_graph: '{node.op.name}' is no op of the registry, so its gradient has no "
                                "derivative; compute without it (a recomputed block: without recompute; blocks "
                                "on a GPU: with using_ops('plain'))")
            for version in node.versions:
                if version is not None and version.changed > node.order:
                    raise changed_in_place(node.op, "an argument or its result", version)
            if node in taken:
                values[node] = node.op(*_arguments(node, values), **node.settings)._data
    return values


def _arguments(node, values):
    """The arrays that a node's op was called with."""
    return [values.get(source, known) for source, known in zip(node.inputs, node.known, strict=True)]


def _pull(node, g, values):
    """`Node.pull`, on Tensors: pairs of an argument's node and its gradient."""
    op = node.op
    # The arguments at their places on the tape; what has no gradient stays an array.
    arguments = [a if source is None else wrapped(a, None, source)
                 for a, source in zip(_arguments(node, values), node.inputs, strict=True)]
    try:
        _, pullbacks = op.plain.body(arguments)(OnTensors(backend_of(g._data).namespace), *arguments, **node.settings)
        grads = pullbacks(g) if callable(pullbacks) else [source and pullback(g) for pullback, source
                                                          in zip(pullbacks, node.inputs, strict=False)]
    except (AttributeError, TypeError) as error:
        raise TapeError(f"create_graph: the plain form of op '{op.name}' does not run on Tensors ({error}); write it "
                        "in operators and functions of xp, without out= and in-place changes") from error
    if callable(pullbacks):
        check_joint(op, pullbacks, grads, len(node.inputs))
    return [(source, _fitted(op, grad, source.shape)) for source, grad in zip(node.inputs, grads, strict=False)
            if source is not None and grad is not None]


def _fitted(op, grad, shape):
    """The gradient, summed over the axes along which an argument of ``shape`` was repeated."""
    if grad.shape == shape:
        return grad
    if not op.broadcasts:
        raise ShapeError(f"op '{op.name}': a gradient is {grad.shape} but the argument is {shape}; mend the op's "
                         "pullback")
    new = grad.ndim - len(shape)
    axes = (*range(new), *(new + i for i, size in enumerate(shape) if size == 1))
    total = grad.sum(axis=axes).reshape(shape)
    return total if total.dtype == grad.dtype else total.astype(grad.dtype)  # halves are summed to () in float32


class OnTensors:
    """An array namespace for Tensors: ``xp.exp(x)`` is the op `exp` where x is a Tensor, the package's where not."""

    def __init__(self, arrays):
        self._arrays = arrays

    def __getattr__(self, name):
        function = getattr(self._arrays, name)
        if not callable(function) or isinstance(function, type):
            return function

        def call(*args, **settings):
            spread = args[0] if args and isinstance(args[0], (list, tuple)) else args
            if not any(isinstance(a, Tensor) for a in spread):
                return function(*args, **settings)
            if name in CONSTANT:
                return Tensor(function(*map(raw, args), **settings))
            op = OPS.get(OTHER_NAMES.get(name, name))
            if op is None:
                raise TypeError(f"there is no op for xp.{name}")
            return op(*args, **settings)

        return call
