"""The engine: ops and their registry.

An op is one function on raw arrays that returns its result and one *pullback* per argument: the
function that maps the gradient of the result to the gradient of that argument. Calling an op on
Tensors records a `Node` that keeps the pullbacks.

    >>> from tinygrad_gpt import Tensor
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4., 6.])
"""

import numpy as np

from tinygrad_gpt.backend import backend_of, default_backend, is_integer
from tinygrad_gpt.backend.precision import is_half
from tinygrad_gpt.engine.tape import (
    Lock,
    Node,
    Version,
    checking,
    composed_ops,
    current_mode,
    dense,
    no_grad,
    saved_arrays,
)
from tinygrad_gpt.engine.tensor import OPS, Tensor, host_array, raw, wrapped
from tinygrad_gpt.errors import BackendError, DTypeError, ShapeError, TinygradError

__all__ = ["OPS", "Op", "Tensor", "checking", "composed_ops", "no_grad", "op", "raw", "values_are_checked"]


class Op:
    """A differentiable function in the registry `OPS`; call it on Tensors, arrays and numbers."""

    def __init__(self, function, samples, errors, composed, broadcasts, takes_halves=False, cuda=None):
        self.name = function.__name__.rstrip("_")
        self.function = function
        self.cuda = cuda
        self.samples = samples
        self.errors = errors
        self.composed = composed
        self.broadcasts = broadcasts
        self.takes_halves = takes_halves
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        code = function.__code__
        self.arguments = code.co_varnames[1:code.co_argcount] or ("arrays",)
        self.asks_for_needs = "needs_input_grad" in code.co_varnames

    def argument(self, i: int) -> str:
        """Name of the i-th array argument."""
        return self.arguments[i] if i < len(self.arguments) else f"{self.arguments[-1]}[{i}]"

    def body(self, arrays):
        """The readable function for these arrays: for halves, unless it takes them, one that calculates in float32."""
        return self.function if self.takes_halves or not _any_half(arrays) else _in_float32(self.function)

    def __repr__(self):
        return f"<op {self.name}>"

    def __call__(self, *args, **settings) -> Tensor:
        mode = current_mode()
        if mode.composed and self.composed is not None:
            return self.composed(*[Tensor(a) if hasattr(a, "strides") else a for a in args], **settings)
        arrays, inputs, versions = [], [], []
        for a in args:
            if isinstance(a, Tensor):
                arrays.append(a._data)
                inputs.append(a._node)
                versions.append(a._version)
            else:
                arrays.append(a)
                inputs.append(None)
                versions.append(None)
        backend = _common_backend(arrays) or self._made_alike(arrays)
        if settings:
            settings = {key: self._setting(key, value) for key, value in settings.items()}
        if self.asks_for_needs:
            settings["needs_input_grad"] = [mode.recording and node is not None for node in inputs]
        function = self.body(arrays) if backend.launch is None or self.cuda is None else self.cuda
        try:
            y, pullbacks = function(backend.xp, *arrays, **settings)
        except TinygradError:
            raise
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise self._explained(error, arrays) from error
        if not isinstance(y, backend.array_type):
            y = backend.xp.asarray(y)  # NumPy's arithmetic on 0-d arrays gives scalars
        versions.append(_version(y, arrays, versions))
        node = self._node(y, inputs, pullbacks, versions) if mode.recording and any(inputs) else None
        result = wrapped(y, versions[-1], node)
        if node is not None and mode.checking:
            node.lock = Lock(self, saved_arrays(node.pullbacks))
        if mode.observer is not None:
            mode.observer(self, args, result)
        return result

    def _made_alike(self, arrays):
        """The backend of the arrays. In place, what is no array becomes one, all have one floating dtype."""
        backend = dtype = None
        others = []  # places of numbers, lists and integers
        for i, a in enumerate(arrays):
            if a is None:
                continue
            if not _is_array(a):
                others.append(i)
                continue
            if backend is None:
                backend, first = backend_of(a), i
            elif backend_of(a) is not backend:
                raise BackendError(f"op '{self.name}': '{self.argument(i)}' is on {backend_of(a).name} but "
                                   f"'{self.argument(first)}' is on {backend.name}; make both with the same backend")
            if is_integer(a.dtype):
                if self.broadcasts:
                    others.append(i)
            elif dtype is None:
                dtype = a.dtype
            elif a.dtype != dtype:
                raise DTypeError(f"op '{self.name}': '{self.argument(i)}' is {a.dtype} but an earlier argument is "
                                 f"{dtype}; convert one with astype")
        backend = backend or default_backend()
        for i in others:
            a = arrays[i]
            if not _is_array(a):
                a = host_array(a, dtype or np.float32)
            # Numbers and integers take the dtype of the tensors: a NumPy float64 would turn float32 work into float64.
            if self.broadcasts and dtype is not None and a.dtype != dtype and a.dtype.kind != "b":
                a = a.astype(dtype)
            arrays[i] = a if isinstance(a, backend.array_type) else backend.from_numpy(a)
        return backend

    def _explained(self, error, arrays):
        got = ", ".join(f"{self.argument(i)} is {a.shape} {a.dtype}" for i, a in enumerate(arrays) if a is not None)
        kind = DTypeError if isinstance(error, TypeError) else ShapeError
        return kind(f"op '{self.name}': {error} ({got})")

    def _setting(self, key, value):
        if key in self.arguments:
            raise DTypeError(f"op '{self.name}': '{key}' is an array argument; give it by position, not by name")
        # A NumPy float64 would turn float32 work into float64.
        return value.item() if isinstance(value, np.generic) else value

    def _node(self, y, inputs, pullbacks, versions):
        """The Node of a call; None if no argument with a pullback is on the tape."""
        if not callable(pullbacks) and (None in inputs or None in pullbacks or len(pullbacks) != len(inputs)):
            # Pullbacks that nobody needs go now, and with them whatever only they captured.
            pullbacks = list(pullbacks[:len(inputs)])
            for i, pullback in enumerate(pullbacks):
                if pullback is None:
                    inputs[i] = None
                elif inputs[i] is None:
                    pullbacks[i] = None
            if not any(inputs):
                return None
        if is_integer(y.dtype):
            raise DTypeError(f"op '{self.name}': the result is {y.dtype}, which has no gradient")
        return Node(self, y.shape, inputs, pullbacks, versions)


def op(*, samples, errors=lambda r: [], composed=None, broadcasts=False, takes_halves=False, cuda=None):
    """Register a function ``f(xp, *arrays, **settings) -> (y, pullbacks)`` as an op of its name in `OPS`.

    A function with a setting ``needs_input_grad`` is told there, for each argument, whether its gradient will be asked
    for; so an op may compute gradients on the way forward.

    Args:
        samples: ``samples(r)`` lists argument tuples to check the op on, drawn from ``r``; a dict at the end
            of a tuple holds the settings.
        errors: ``errors(r)`` lists pairs (arguments, text): called so, the op must raise an error with that text.
        composed: the same function written in simpler ops, if the op is a fused one.
        broadcasts: the engine sums gradients down to the shapes of the arguments.
        takes_halves: the function takes float16 and bfloat16 arrays as they are; others are given float32 copies, and
            what they return is rounded.
        cuda: the same function with CUDA kernels, for a backend that launches them.
    """
    def register(function) -> Op:
        registered = Op(function, samples, errors, composed, broadcasts, takes_halves, cuda)
        if registered.name in OPS:
            raise ValueError(f"op {registered.name!r} is registered twice")
        OPS[registered.name] = registered
        return registered

    return register


def _is_array(a) -> bool:
    return hasattr(a, "dtype") and not isinstance(a, np.generic)


def _common_backend(arrays):
    """The backend, if these are arrays of one type and dtype (or None) already, as nearly always; else None."""
    if not arrays or not _is_array(arrays[0]):
        return None
    kind, dtype = type(arrays[0]), arrays[0].dtype
    for a in arrays:
        if a is not None and (type(a) is not kind or a.dtype is not dtype):
            return None
    return backend_of(arrays[0])


def _any_half(arrays) -> bool:
    for a in arrays:  # noqa: SIM110 - a generator would cost half a microsecond for every op
        if a is not None and a.dtype.itemsize == 2 and is_half(a.dtype):
            return True
    return False


def _in_float32(function):
    """The body of an op, for halves: it works on float32 copies, and its result and gradients are rounded.

    What is reduced to () stays in float32: it is a loss, or a sum on the way to one, and halves have 3 digits.
    """
    def on_halves(xp, *arrays, **settings):
        dtypes = [a.dtype if a is not None and is_half(a.dtype) else None for a in arrays]
        halves = [a for a, dtype in zip(arrays, dtypes, strict=True) if dtype is not None]
        copies = [a if dtype is None else a.astype(np.float32) for a, dtype in zip(arrays, dtypes, strict=True)]
        y, pullbacks = function(xp, *copies, **settings)
        if y.dtype == np.float32 and (y.ndim or not any(a.ndim for a in halves)):
            y = y.astype(halves[0].dtype)
        if callable(pullbacks):
            return y, _rounded(pullbacks, dtypes)
        return y, [pullback and _rounded(pullback, dtype) for pullback, dtype in zip(pullbacks, dtypes, strict=False)]

    return on_halves


def _rounded(pullback, dtype):
    """The pullback, of one argument or (with a list of dtypes) of all, given float32 and rounded to dtype, if any."""
    def rounded(grad, dtype):
        return grad if grad is None or dtype is None else dense(grad).astype(dtype)

    def on_halves(g):
        grad = pullback(g.astype(np.float32))
        return list(map(rounded, grad, dtype)) if isinstance(dtype, list) else rounded(grad, dtype)

    return on_halves


def _version(y, arrays, versions):
    """A new Version for the result of an op; that of an argument, if the result shows its memory."""
    base = y.base
    for i, a in enumerate(arrays):
        if y is a or (base is not None and a is not None and (base is a or base is a.base)):
            return versions[i] or Version()
    return Version()


def values_are_checked(array) -> bool:
    """May an op look at values to refuse bad ones? On a device that would wait for it, so only in checking mode."""
    return backend_of(array).on_host or current_mode().checking
