"""The tape: what a forward pass records, and the walk back over it.

A node points to the nodes of its arguments and never to Tensors, so a graph is a DAG that is freed by reference
counting alone. Nodes are numbered as they are made: this order is the tape. Of the values of a forward pass a node
keeps what its pullbacks captured, and arguments that no op on the tape made (parameters, data), which exist anyway.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from heapq import heappop
from typing import Any

from tinygrad_gpt.backend import Array
from tinygrad_gpt.engine.guards import Version, captured, next_number
from tinygrad_gpt.engine.mistakes import check_gradient, check_joint, check_pullbacks, no_gradient
from tinygrad_gpt.engine.pending import Pending, RowGradient, sum_to
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError

__all__ = ["Node", "nodes_below", "walk"]


def walk(pending: Pending, *, wanted: Container["Node"] = (), retain_graph: bool = False, since: int = 0,
         pull: "Callable | None" = None, completes: "Mapping[Node, Sequence[Node]] | None" = None,
         arrived: "Callable[[Node, Array], None] | None" = None) -> list[tuple["Node", Array, bool]]:
    """Play the tape in reverse, youngest node first, down to the leaves.

    Args:
        pending: holds the gradients of the nodes to start from.
        wanted: nodes whose gradients are returned, besides leaves and others that keep theirs.
        retain_graph: keep what the nodes saved, so that the tape can be played again.
        since: the walk ends at nodes that are older than this number; their gradients are returned.
        pull: in place of `Node.pull`, for gradients that are Tensors (`higher_order.py`).
        completes: the leaves whose gradients are whole when a node has been played (`leaves.py`); others are whole at
            the end.
        arrived: called with each of these leaves and its gradient at that moment; they are not returned.

    Returns:
        Triples of a node, its gradient, and whether the array is the node's own.
    """
    pull, results = pull or Node.pull, []
    while pending.queue:
        node = heappop(pending.queue)[1]  # all its consumers have been played, for they carry higher numbers
        if arrived and node not in pending.grads:  # a leaf that has arrived
            continue
        g = pending.grads.pop(node)
        if node.hooks and node.order >= since:
            g = node.after_hooks(g)
            pending.owners.discard(node)  # a hook may keep what it saw, or return an array of its own
        if node.keeps_grad or node.order < since or node in wanted:
            results.append((node, g))
        if node.op is not None and node.order >= since:
            for source, grad in pull(node, g):
                pending.add(source, grad, g)
            if not retain_graph:
                node.free()
            if arrived and completes:
                for leaf in completes.get(node, ()):
                    if leaf in pending.grads:
                        arrived(leaf, leaf.after_hooks(pending.grads.pop(leaf)))
    return [(node, g, node in pending.owners) for node, g in results]


class Node:
    """One step of the tape: the op, the shape of its result, the nodes of its arguments, and its pullbacks.

    A leaf (a Tensor made with ``requires_grad=True``) has ``op`` None.

    Attributes:
        order: its number on the tape.
        inputs: the nodes of the arguments, None for constants.
        pullbacks: one function for each argument, or one for all; None once freed.
        versions: of the arguments (None for what is no Tensor) and of the result.
        known: the arguments that no op on the tape made, None for the others.
        settings: of the call.
        grad: the accumulated gradient, a Tensor, of a leaf and where ``keeps_grad``.
    """

    grad: Any
    known: Any
    settings: Any
    __slots__ = ("grad", "hooks", "inputs", "keeps_grad", "known", "lock", "op", "order", "pullbacks", "settings",
                 "shape", "versions")

    def __init__(self, op=None, shape=(), inputs=(), pullbacks=None, versions=()):
        self.order = next_number()
        self.op: Any = op
        self.shape = shape
        self.inputs = inputs
        self.pullbacks = pullbacks
        self.versions = versions
        self.hooks: dict[Any, Callable] | None = None
        self.grad = None
        self.keeps_grad = op is None
        self.lock = None

    def __reduce__(self):
        """The node of a copy, or in another process: a new leaf, numbered there, without the hooks."""
        if self.op is not None:
            raise TapeError(f"copy: the tensor is the result of op '{self.op.name}' on the tape, and only leaves are "
                            "copied or pickled; use detach() or clone()")
        return Node, (None, self.shape), (None, {"grad": self.grad, "keeps_grad": self.keeps_grad})

    def pull(self, g: Array) -> list[tuple["Node", "Array | RowGradient"]]:
        """Pairs of an argument's node and its gradient, given the gradient ``g`` of the result."""
        if self.pullbacks is None:
            self.check_alive()
        if Version.latest > self.order:  # some memory was changed after the forward pass
            self._refuse_changed_values()
        if self.lock is not None:
            self.lock.verify()
        return self._pull_together(g) if callable(self.pullbacks) else self._pull_each(g)

    def _pull_each(self, g):
        """The pairs, by one pullback for each argument."""
        pairs, kind = [], type(g)
        try:
            for i, pullback in enumerate(self.pullbacks):
                if pullback is not None:
                    node, grad = self.inputs[i], pullback(g)
                    alike = type(grad) is kind and grad.shape == node.shape
                    pairs.append((node, grad if alike else self._fitted(i, grad)))
        except (TypeError, ValueError):
            check_pullbacks(self.op, self.pullbacks, len(self.inputs))
            raise
        return pairs

    def _pull_together(self, g):
        """The pairs, by one pullback for all arguments."""
        grads = self.pullbacks(g)
        if type(grads) is not tuple or len(grads) != len(self.inputs):
            check_joint(self.op, self.pullbacks, grads, len(self.inputs))
        pairs, kind = [], type(g)
        for i, (node, grad) in enumerate(zip(self.inputs, grads, strict=False)):
            if node is not None and grad is not None:
                alike = type(grad) is kind and grad.shape == node.shape
                pairs.append((node, grad if alike else self._fitted(i, grad)))
        return pairs

    def check_alive(self):
        """Raise TapeError if the pullbacks are gone."""
        if self.pullbacks is None:
            raise TapeError(f"backward: the graph through op '{self.op.name}' was freed by an earlier backward; "
                            "call the earlier one with retain_graph=True")

    def _refuse_changed_values(self):
        """Raise if what changed is among the captured variables: an argument, or the result, which ops call ``y``."""
        if not any(version is not None and version.changed > self.order for version in self.versions):
            return
        kept = {name for name, _ in captured(self.pullbacks)}
        last = len(self.op.arguments) - 1  # as in `*arrays`, which are captured together
        names = [self.op.arguments[min(i, last)] for i in range(len(self.inputs))]
        for i, (name, version) in enumerate(zip([*names, "y"], self.versions, strict=True)):
            if version is not None and version.changed > self.order and name in kept:
                saved = "y" if i == len(names) else self.op.argument(i)
                raise changed_in_place(self.op, f"its saved array '{saved}'", version)

    def _fitted(self, i, grad):
        """A gradient in the shape of its argument; what is none is refused."""
        if grad is None:
            raise no_gradient(self.op, i)
        check_gradient(self.op, i, grad)
        shape = self.inputs[i].shape
        if grad.shape == shape:  # rows of a table, or a NumPy scalar
            return grad
        if self.op.broadcasts:
            return sum_to(grad, shape)
        raise ShapeError(f"op '{self.op.name}': gradient of '{self.op.argument(i)}' is {grad.shape} "
                         f"but the argument is {shape}; mend the op's pullback")

    def after_hooks(self, g):
        """The gradient after each hook has seen, and perhaps replaced, it."""
        for hook in tuple((self.hooks or {}).values()):  # a hook may remove itself
            replaced = hook(g)
            if replaced is not None and replaced.shape != g.shape:
                raise ShapeError(f"hook: returned a gradient of shape {replaced.shape} in place of {g.shape}")
            if replaced is not None and replaced.dtype != g.dtype:
                raise DTypeError(f"hook: returned a gradient of dtype {replaced.dtype} in place of {g.dtype}; convert "
                                 "it with astype")
            g = g if replaced is None else replaced
        return g

    def free(self):
        """Drop the pullbacks and all that the node keeps."""
        self.pullbacks = self.lock = self.known = self.settings = None
        self.versions = ()


def changed_in_place(op, what: str, version: Version) -> TapeError:
    """The error for a value that was overwritten between the forward and the backward pass."""
    return TapeError(f"op '{op.name}': {what} was changed in place after the forward pass{version.where}; use a copy, "
                     "or change it after backward")


def nodes_below(*roots: Node) -> list[Node]:
    """The roots and all nodes that they were computed from, in the order of the tape."""
    found, todo = set(roots), list(roots)
    while todo:
        for source in todo.pop().inputs:
            if source is not None and source not in found:
                found.add(source)
                todo.append(source)
    return sorted(found, key=lambda node: node.order)
