"""Tensor: an array that can take part in a tape. Names and behaviour follow PyTorch, axes follow NumPy."""

from collections.abc import Callable

import numpy as np

from tinygrad_gpt.backend import Array, backend_of, default_backend, get_backend, is_integer
from tinygrad_gpt.backend.numpy import host_array
from tinygrad_gpt.engine.guards import Version
from tinygrad_gpt.engine.hooks import Handle
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.pending import Pending
from tinygrad_gpt.engine.pytorch.conversion import Conversion
from tinygrad_gpt.engine.pytorch.in_place import InPlace
from tinygrad_gpt.engine.pytorch.methods import Methods
from tinygrad_gpt.engine.pytorch.named_operators import NamedOperators
from tinygrad_gpt.engine.tape import Node, walk
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError

__all__ = ["Tensor", "wrapped"]



class Tensor(NamedOperators, InPlace, Conversion, Methods):
    """An array that can take part in a tape.

    Args:
        data: numbers, nested lists, or an array. Lists of floats become float32, lists of ints int64;
            arrays keep their dtype and are not copied.
        requires_grad: make this a leaf whose ``grad`` is filled by ``backward``.
        backend: name of the backend to put it on; None keeps an array where it is and puts lists on the default one.

    Raises:
        DTypeError: the data are not numbers, or ``requires_grad`` with integers:
            "Tensor: only floating-point tensors can require gradients, this one is int64".
    """

    __slots__ = ("__weakref__", "_data", "_node", "_version")

    def __init__(self, data, requires_grad: bool = False, backend: str | None = None):
        version = None
        if isinstance(data, Tensor):
            data, version = data._data, data._version
        if not hasattr(data, "strides") or isinstance(data, np.generic):
            data = default_backend().from_numpy(host_array(data))
        elif data.dtype.kind not in "biufc" and (data.dtype.kind != "V" or data.dtype.names is not None):
            raise DTypeError(f"Tensor: cannot hold {data.dtype}; give numbers")
        if backend is not None and backend_of(data) is not get_backend(backend):
            data, version = get_backend(backend).from_numpy(backend_of(data).to_numpy(data)), None
        self._data: Array = data
        self._version = version or Version()  # one for each piece of memory
        self._node: Node | None = None
        if requires_grad:
            self.requires_grad = True

    # -- what it is

    @property
    def data(self) -> Array:
        """The raw array. Assigning to ``data`` counts as an in-place change; writing into the array does not."""
        return self._data

    @data.setter
    def data(self, array):
        self._version.bump()
        self._data = raw(array)
        if isinstance(array, Tensor):
            self._version = array._version
        if self._node is not None:
            self._node.shape = self._data.shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def dtype(self):
        return self._data.dtype

    @property
    def requires_grad(self) -> bool:
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool):
        if not value:
            self._node = None
        elif is_integer(self.dtype):
            raise DTypeError(f"Tensor: only floating-point tensors can require gradients, this one is {self.dtype}")
        elif self._node is None:
            self._node = Node(shape=self.shape)

    @property
    def is_leaf(self) -> bool:
        """True unless an op on the tape made it."""
        return self._node is None or self._node.op is None

    @property
    def node(self) -> Node | None:
        """Its place on the tape."""
        return self._node

    @property
    def grad_fn(self) -> Node | None:
        """Its place on the tape, where an op made it; None for a leaf, as in PyTorch."""
        return None if self.is_leaf else self._node

    @property
    def grad(self) -> "Tensor | None":
        """The gradient accumulated by ``backward``; None before, and on tensors that keep none."""
        return None if self._node is None else self._node.grad

    @grad.setter
    def grad(self, value):
        if self._node is None:
            raise TapeError("grad: this tensor does not require gradients; set requires_grad=True first")
        if value is not None:
            if value.shape != self.shape:
                raise ShapeError(f"grad: shape is {value.shape} but the tensor is {self.shape}")
            value = Tensor(Tensor(value, backend=backend_of(self._data).name)._data.astype(self.dtype))  # a copy
        self._node.grad = value

    # -- the tape

    def backward(self, gradient=None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add to each leaf's ``grad`` the gradient of this tensor with respect to it.

        No ``grad`` changes before the whole pass has succeeded.

        Args:
            gradient: of the final quantity with respect to this tensor, of its shape; 1 for a scalar.
            retain_graph: keep what the graph saved, so that backward can run again; None: as ``create_graph``.
            create_graph: record the backward pass too, so that the gradients can be differentiated.

        Raises:
            TapeError: "backward: this tensor is on no tape…"; "backward: the tensor has shape (2,), not one value…";
                the graph was freed; a saved value was changed in place.
        """
        grad = self.as_cotangent(gradient, "backward")
        if create_graph:
            from tinygrad_gpt.engine.higher_order import walk_on_tensors

            for node, g in walk_on_tensors([(self, grad)]):
                copy = wrapped(backend_of(g._data).xp.array(g._data), Version(), g._node)  # a gradient shares no memory
                node.grad = copy if node.grad is None else node.grad + g
        else:
            for node, g, own in walk(Pending([(self._node, grad._data)]), retain_graph=bool(retain_graph)):
                _accumulate(node, g, own)

    def as_cotangent(self, grad, where: str) -> "Tensor":
        """What a backward pass from here starts with: 1, or the gradient that was given to the function ``where``."""
        if self._node is None:
            raise TapeError(f"{where}: this tensor is on no tape; compute it from a tensor with requires_grad=True, "
                            "outside no_grad and without detach (a gradient: with create_graph=True)")
        if grad is None:
            if self._data.size != 1:
                raise TapeError(f"{where}: the tensor has shape {self.shape}, not one value; reduce it, "
                                "or pass a gradient of that shape")
            return wrapped(backend_of(self._data).xp.asarray(1, dtype=self.dtype).reshape(self.shape), None, None)
        given, backend = grad, backend_of(self._data).name
        grad = Tensor(given, backend=backend)
        if grad.dtype != self.dtype:
            grad = Tensor(grad._data.astype(self.dtype))
        elif isinstance(given, Tensor):
            grad._node = given._node  # it may itself be differentiated
        if grad.shape != self.shape:
            raise ShapeError(f"{where}: the gradient is {grad.shape} but the tensor is {self.shape}")
        return grad

    def detach(self) -> "Tensor":
        """The same memory, off the tape."""
        return Tensor(self)

    @staticmethod
    def _constant(array) -> "Tensor":
        """A new Tensor off the tape with an array, or a scalar of NumPy, that nobody else has."""
        return wrapped(array if hasattr(array, "base") and not isinstance(array, np.generic) else np.asarray(array),
                       Version(), None)

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> "Tensor":
        """Keep the gradient of this non-leaf at the next backward."""
        if self._node is None:
            raise TapeError("retain_grad: this tensor is on no tape")
        self._node.keeps_grad = True
        return self

    def register_hook(self, hook: Callable[["Tensor"], "Tensor | None"]) -> Handle:
        """Call ``hook(gradient)`` when backward has this tensor's whole gradient; what it returns replaces it.

        Returns:
            A handle whose ``remove()`` takes the hook away; a hook may remove itself.
        """
        if self._node is None:
            raise TapeError("register_hook: this tensor is on no tape")
        hooks = self._node.hooks = self._node.hooks or {}

        def on_gradient(g):  # an array; where the pass is recorded, a Tensor
            replaced = hook(g if isinstance(g, Tensor) else Tensor(g))
            if replaced is not None and not isinstance(replaced, Tensor):
                raise DTypeError(f"hook: returned {type(replaced).__name__}; return a Tensor, or None to keep "
                                 "the gradient")
            return replaced if replaced is None or isinstance(g, Tensor) else replaced._data

        handle = Handle(hooks)
        hooks[handle] = on_gradient
        return handle

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient, or fill it with zeros."""
        if self._node is not None:
            keeps = self.grad is not None and not set_to_none
            self._node.grad = Tensor(backend_of(self._data).xp.zeros_like(self._data)) if keeps else None

    def mark_changed(self) -> None:
        """Say that the memory was written to: graphs that saved it will refuse to run backward."""
        self._version.bump()

    def __len__(self):
        if not self.ndim:
            raise DTypeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from tinygrad_gpt.engine.pytorch.notebook import tensor_html

        where = "" if self._node is None else ", a leaf" if self._node.op is None else f", of op {self._node.op.name}"
        grad = ", with a gradient" if self.grad is not None else ""
        return tensor_html(self.numpy(), where + grad)

    def __repr__(self):
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        if self.dtype not in (np.float32, np.int64, np.bool_):
            text += f", dtype={self.dtype}"
        if self._node is not None:
            text += ", requires_grad=True" if self._node.op is None else f", op={self._node.op.name!r}"
        return f"Tensor({text})"

def wrapped(array: Array, version: Version | None, node: Node | None) -> Tensor:
    """A Tensor of these parts: what ``Tensor(array)`` would look at is known."""
    result = Tensor.__new__(Tensor)
    result._data, result._version, result._node = array, version, node
    return result


def _accumulate(node: Node, g: Array, own: bool) -> None:
    """Add an array to the gradient of a node; ``own``: nobody else has it."""
    if node.grad is not None:
        node.grad._data += g
        node.grad._version.bump()
    else:
        # A pullback may return g itself, a view, or an array it saved: a stored gradient shares nothing.
        xp = backend_of(g).xp
        node.grad = wrapped(xp.asarray(g) if own else xp.array(g), Version(), None)
