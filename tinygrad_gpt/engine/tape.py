"""The tape: what a forward pass records, and `backward`, which plays it in reverse.

Nodes point to the nodes of their arguments and never to Tensors, so a graph is a DAG that is freed
by reference counting alone, and what no pullback captured is not kept. Nodes are numbered as they
are made: this order is the tape. All arrays here are raw.
"""

import contextlib
import contextvars
import hashlib
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path
from typing import ClassVar

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.backend.precision import wide
from tinygrad_gpt.errors import ShapeError, TapeError

__all__ = [
    "Lock", "Mode", "Node", "RowGradient", "Version", "backward", "checking", "composed_ops", "current_mode", "dense",
    "gradients", "no_grad", "observing", "saved_arrays", "sum_to", "switched",
]


@dataclass(frozen=True)
class Mode:
    """Is a tape recorded, do fused ops run as their composed form, are saved arrays guarded, who looks on?"""

    recording: bool = True
    composed: bool = False
    checking: bool = False
    observer: Callable | None = None


_NORMAL = Mode()
_PACKAGE = str(Path(__file__).parent)
_mode = contextvars.ContextVar("mode", default=_NORMAL)  # a context variable: each thread has its own


@contextlib.contextmanager
def switched(**changes):
    """The mode with these changes in this block, in this thread."""
    token = _mode.set(replace(_mode.get(), **changes))
    try:
        yield
    finally:
        _mode.reset(token)


def no_grad():
    """Record no tape in this block (or in the decorated function), in this thread."""
    return switched(recording=False)


def composed_ops():
    """Run every fused op as its composed form: slower, the same numbers, each step on the tape."""
    return switched(composed=True)


def checking():
    """Guard saved arrays in this block: they are write-locked, and compared with a digest before they are used."""
    return switched(checking=True)


def observing(observer: Callable):
    """Call ``observer(op, arguments, result)`` after each op in this block; it may wrap the pullbacks of the result."""
    return switched(observer=observer)


def current_mode() -> Mode:
    """The switches in force in this thread."""
    return _mode.get()


_order = itertools.count()  # numbers the nodes and the in-place changes as they happen


class Version:
    """When one piece of memory was last changed in place; Tensors that share the memory share the Version."""

    changed = -1  # class attributes: most memory is never changed, and an object without own attributes is made at once
    where = ""

    def bump(self):
        self.changed = next(_order)
        if _mode.get().checking:
            frame = sys._getframe(1)
            while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
                frame = frame.f_back
            self.where = f", last by {frame.f_code.co_filename}:{frame.f_lineno}"


class Node:
    """One step of the tape: the op, the shape of its result, the nodes of its arguments, and its pullbacks.

    A leaf (a Tensor made with ``requires_grad=True``) has ``op`` None and holds the gradient in ``grad``.
    """

    __slots__ = ("grad", "grad_version", "hooks", "inputs", "keeps_grad", "lock", "op", "order", "pullbacks", "shape",
                 "versions")

    def __init__(self, op=None, shape=(), inputs=(), pullbacks=None, versions=()):
        self.order = next(_order)
        self.op = op
        self.shape = shape
        self.inputs = inputs  # the arguments' Nodes, None for constants
        self.pullbacks = pullbacks  # one function per argument, or one for all; None once freed
        self.versions = versions  # of the arguments (None for what is no Tensor) and of the result
        self.hooks: list[Callable] | None = None
        self.grad: Array | None = None
        self.grad_version: Version | None = None
        self.keeps_grad = op is None
        self.lock = None

    def pull(self, g: Array) -> list[tuple["Node", "Array | RowGradient"]]:
        """Pairs of an argument's node and its gradient, given the gradient ``g`` of the result."""
        if self.pullbacks is None:
            raise TapeError(f"backward: the graph through op '{self.op.name}' was freed by an earlier backward; "
                            "call the earlier one with retain_graph=True")
        for version in self.versions:
            if version is not None and version.changed > self.order:
                self._refuse_changed_values()
        if self.lock is not None:
            self.lock.verify()
        if callable(self.pullbacks):
            grads = self.pullbacks(g)
        else:
            grads = [pullback and pullback(g) for pullback in self.pullbacks]
        pairs = []
        for i, grad in enumerate(grads):
            if grad is not None and (node := self.inputs[i]) is not None:
                pairs.append((node, grad if grad.shape == node.shape else self._fitted(i, grad)))
        return pairs

    def _refuse_changed_values(self):
        """Raise if what changed is among the captured variables: an argument, or the result, which ops call ``y``."""
        captured = {name for name, _ in _captured(self.pullbacks)}
        last = len(self.op.arguments) - 1  # as in `*arrays`, which are captured together
        names = [self.op.arguments[min(i, last)] for i in range(len(self.inputs))]
        for i, (name, version) in enumerate(zip([*names, "y"], self.versions, strict=True)):
            if version is not None and version.changed > self.order and name in captured:
                saved = "y" if i == len(names) else self.op.argument(i)
                raise TapeError(f"op '{self.op.name}': its saved array '{saved}' was changed in place after the "
                                f"forward pass{version.where}; use a copy, or change it after backward")

    def _fitted(self, i, grad):
        shape = self.inputs[i].shape
        if self.op.broadcasts:
            return sum_to(grad, shape)
        raise ShapeError(f"op '{self.op.name}': gradient of '{self.op.argument(i)}' is {grad.shape} "
                         f"but the argument is {shape}; mend the op's pullback")

    def free(self):
        """Drop the pullbacks and with them all that they captured."""
        self.pullbacks = self.lock = None
        self.versions = ()


class RowGradient:
    """The gradient (V, C) of a table of which rows were taken: ``values`` (N, C), summed at ``rows`` (N), else zero.

    A pullback may return it in place of an array. It is added to a gradient that is there already, such as that of a
    head tied to the table, without a second table.
    """

    def __init__(self, shape: tuple[int, ...], rows: Array, values: Array):
        self.shape, self.rows, self.values = shape, rows, values

    def add_to(self, total: Array) -> Array:
        """Add it to an array (V, C) in place."""
        backend_of(total).index_add(total, self.rows, self.values)
        return total


def dense(grad: "Array | RowGradient") -> Array:
    """The same gradient as an array."""
    if not isinstance(grad, RowGradient):
        return grad
    return grad.add_to(backend_of(grad.values).xp.zeros(grad.shape, dtype=grad.values.dtype))


def sum_to(g: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: sum ``g`` over the axes along which an array of ``shape`` was repeated."""
    dtype = g.dtype
    g = g.sum(axis=tuple(range(g.ndim - len(shape))), dtype=wide(dtype))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and g.shape[i] != 1)
    return (g.sum(axis=repeated, keepdims=True) if repeated else g).astype(dtype, copy=False)


def backward(root: Node, g: Array, retain_graph: bool = False) -> None:
    """Add to every leaf below ``root`` its gradient, given the gradient ``g`` of the root.

    No ``.grad`` changes before the whole pass has succeeded.
    """
    for node, grad, private in _played(root, g, retain_graph):
        _accumulate(node, grad, private)


def gradients(root: Node, g: Array, since: int) -> dict[Node, Array]:
    """The gradients of the nodes below ``root`` that are older than number ``since``, where the pass ends.

    The arrays share memory with nothing. No ``.grad`` changes.
    """
    return {node: grad if private else backend_of(grad).xp.array(grad)
            for node, grad, private in _played(root, g, retain_graph=False, since=since)}


def _played(root, g, retain_graph, since=0):
    """Triples of each leaf (or node that keeps its gradient), its gradient, and whether that array is its own.

    A node is played when all its consumers have been, because they carry higher numbers.
    """
    pending, owned, results = {root: g}, set(), []
    queue = [(-root.order, root)]
    while queue:
        node = heappop(queue)[1]
        g = pending.pop(node)
        if node.order < since:
            results.append((node, g))
            continue
        for hook in node.hooks or ():
            g = _after_hook(hook, g)
            owned.discard(node)  # the hook may keep what it saw, or return an array of its own
        if node.keeps_grad:
            results.append((node, g))
        if node.op is None:
            continue
        for parent, grad in node.pull(g):
            if parent in owned and isinstance(grad, RowGradient):
                grad.add_to(pending[parent])
                continue
            grad = dense(grad)
            if parent not in pending:
                pending[parent] = grad
                heappush(queue, (-parent.order, parent))
                if grad is not g and grad.base is None:
                    owned.add(parent)  # a new array: a pullback returns no array that it saved
            elif parent in owned:
                pending[parent] += grad
            else:
                pending[parent] = pending[parent] + grad  # not in place: the first may belong to somebody else
                owned.add(parent)
        if not retain_graph:
            node.free()
    return [(node, g, node in owned) for node, g in results]


def _after_hook(hook, g):
    replaced = hook(g)
    if replaced is None:
        return g
    if replaced.shape != g.shape:
        raise ShapeError(f"hook: returned a gradient of shape {replaced.shape} in place of {g.shape}")
    return replaced


def _accumulate(node, g, private):
    if node.grad is not None:
        node.grad += g
        node.grad_version.bump()
    else:
        # A pullback may return g itself, a view, or an array it saved: a stored gradient shares nothing.
        xp = backend_of(g).xp
        node.grad = xp.asarray(g) if private else xp.array(g)
        node.grad_version = Version()


class Lock:
    """Checking mode: the saved arrays of one node, read-only and with digests until the node lets go of them."""

    _holders: ClassVar[dict[int, list]] = {}  # the ops of the nodes that lock the array with this id

    def __init__(self, op, saved):
        self.op = op
        self.locked: list[np.ndarray] = []
        self.saved = [(name, array, self._digest(array)) for name, array in saved.items()]
        for array in saved.values():
            if isinstance(array, np.ndarray) and (id(array) in self._holders or array.flags.writeable):
                array.flags.writeable = False
                self._holders.setdefault(id(array), []).append(op)
                self.locked.append(array)

    @classmethod
    def holder(cls, array):
        """An op that saved this array and has it locked; None if there is none."""
        return cls._holders.get(id(array), [None])[0]

    def verify(self):
        for name, array, digest in self.saved:
            if self._digest(array) != digest:
                raise TapeError(f"op '{self.op.name}': its saved array '{name}' was changed in place after the "
                                "forward pass, through a view; use a copy, or change it after backward")

    @staticmethod
    def _digest(array):
        return hashlib.blake2b(backend_of(array).to_numpy(array).tobytes(), digest_size=16).digest()

    def __del__(self):
        for array in self.locked:
            self._holders[id(array)].remove(self.op)
            if not self._holders[id(array)]:
                del self._holders[id(array)]
                with contextlib.suppress(ValueError):  # a view of an array that another node still locks
                    array.flags.writeable = True


def saved_arrays(pullbacks) -> dict[str, Array]:
    """The arrays captured by a node's pullbacks, by the names that they have in the op."""
    saved: dict[str, Array] = {}
    for name, value in _captured(pullbacks):
        if hasattr(value, "strides"):  # not "dtype": the array package has that name, too
            saved.setdefault(name, value)
        elif isinstance(value, tuple):
            saved.update({f"{name}[{i}]": item for i, item in enumerate(value) if hasattr(item, "strides")})
    return saved


def _captured(pullbacks):
    """Pairs of name and value of the variables that the pullbacks captured, and functions that they captured."""
    functions = [pullbacks] if callable(pullbacks) else [p for p in pullbacks or () if p is not None]
    while functions:
        function = functions.pop()
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # the variable was never bound on this path of the op
                continue
            if hasattr(value, "__code__"):
                functions.append(value)
            yield name, value
