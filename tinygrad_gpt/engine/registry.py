"""Ops, their forms, and the registry `OPS`.

An op is one function on raw arrays that returns its result and one *pullback* for each argument: the function that
maps the gradient of the result to the gradient of that argument. Calling an op on Tensors records a `Node` that keeps
the pullbacks.

    >>> from tinygrad_gpt import Tensor
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4., 6.])

The function with which an op is registered is its *plain* form: pure, in operators and functions of the array
namespace ``xp`` alone. A tuned form for the host (`fast`), one with compiled loops (`compiled`), one with CUDA kernels
(`cuda`) and one in simpler ops (`composed`) may be registered for it.
"""

import inspect
from collections.abc import Callable

import numpy as np

from tinygrad_gpt.backend import backend_of, backend_of_type, default_backend, is_integer
from tinygrad_gpt.backend.numpy import host_array
from tinygrad_gpt.engine.binding import bound, signature
from tinygrad_gpt.engine.forms import Forms
from tinygrad_gpt.engine.guards import Lock, Version, saved_arrays
from tinygrad_gpt.engine.halves import any_of
from tinygrad_gpt.engine.mistakes import check_name, check_pullbacks, no_pair
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.operators import OPS
from tinygrad_gpt.engine.tape import Node
from tinygrad_gpt.engine.tensor import Tensor, wrapped
from tinygrad_gpt.errors import BackendError, DTypeError, ShapeError, TinygradError

__all__ = ["OPS", "Op", "op", "values_are_checked"]

_FLOAT64 = np.dtype(np.float64)


class Op(Forms):
    """A differentiable function in the registry `OPS`; call it on Tensors, arrays and numbers.

    Attributes:
        samples, errors, check, broadcasts: see `op`.
        composed: the same function on Tensors, written in simpler ops; None for an op that is not a fused one.
    """

    def __init__(self, function, *, samples=None, errors=None, check=None, broadcasts=False, takes_halves=False):
        super().__init__(function, takes_halves)
        self.samples = samples
        self.errors = errors
        self.check = check
        self.composed: Callable | None = None
        self.broadcasts = broadcasts
        code = function.__code__
        self.arguments = code.co_varnames[1:code.co_argcount] or ("arrays",)
        self.n_arrays = code.co_argcount - 1  # 0 for any number of them
        self.settings = code.co_varnames[code.co_argcount:code.co_argcount + code.co_kwonlyargcount]

    @property
    def __signature__(self) -> inspect.Signature:
        return signature(self)

    def argument(self, i: int) -> str:
        """Name of the i-th array argument."""
        return self.arguments[i] if i < len(self.arguments) else f"{self.arguments[-1]}[{i}]"

    def __repr__(self):
        return f"<op {self.name}>"

    def __call__(self, *args, **settings) -> Tensor:
        if settings or len(args) > self.n_arrays:
            args, settings = bound(self, args, settings)
        mode = current_mode()
        if mode.ops == "composed" and self.composed is not None:
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
        needed = mode.recording and any(inputs)
        form = self.form(backend, mode.ops)
        needs = [needed and node is not None for node in inputs] if form.asks_for_needs else None
        y, pullbacks = self._computed(form, backend, arrays, settings, needs)
        versions.append(_version(y, arrays, versions))
        node = self._node(y, inputs, pullbacks, versions) if needed else None
        result = wrapped(y, versions[-1], node)
        if node is not None:
            node.known, node.settings = arrays, settings
            for i, source in enumerate(inputs):
                if source is not None and source.op is not None:
                    arrays[i] = None  # a value that the tape can compute again
            if mode.checking:
                node.lock = Lock(self, saved_arrays(node.pullbacks))
        if mode.observer is not None:
            mode.observer(self, args, result)
        return result

    def on_arrays(self, *arrays, **settings):
        """The result for raw arrays of one backend, off the tape."""
        backend = backend_of(arrays[0])
        form = self.form(backend, current_mode().ops)
        needs = [False] * len(arrays) if form.asks_for_needs else None
        return self._computed(form, backend, arrays, settings, needs)[0]

    def _computed(self, form, backend, arrays, settings, needs):
        """What a form returns for these arrays, or one of our errors."""
        try:
            if self.check is not None:
                self.check(*arrays, **settings)
            if needs is not None:
                settings = {**settings, "needs_input_grad": needs}
            returned = form.body(arrays)(backend.namespace, *arrays, **settings)
        except TinygradError:
            raise
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise self._explained(error, arrays) from error
        if type(returned) is not tuple or len(returned) != 2:
            raise no_pair(self, returned)
        y, pullbacks = returned
        if not isinstance(y, backend.array_type):
            y = backend.xp.asarray(y)  # NumPy's arithmetic on 0-d arrays gives scalars
        if y.dtype is _FLOAT64 and not any_of(_FLOAT64, arrays) and "dtype" not in self.settings:
            y = y.astype(np.float32)  # of integers NumPy makes float64, PyTorch its default dtype
        return y, pullbacks

    def _made_alike(self, arrays):
        """The backend of the arrays. In place, what is no array becomes one, all have one floating dtype."""
        backend = dtype = None
        others = []  # positions of numbers, lists and integers
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
            arrays[i] = self._converted(arrays[i], backend, dtype)
        return backend

    def _converted(self, a, backend, dtype):
        """A number, list or array of integers as an array of the backend beside arrays of ``dtype``."""
        if not _is_array(a):
            a = host_array(a, dtype or np.float32)
        # Numbers and integers take the dtype of the tensors: a NumPy float64 would turn float32 work into float64.
        if self.broadcasts and dtype is not None and a.dtype != dtype and a.dtype.kind != "b":
            a = a.astype(dtype)
        return a if isinstance(a, backend.array_type) else backend.from_numpy(a)

    def _explained(self, error, arrays):
        got = ", ".join(f"{self.argument(i)} is {a.shape} {a.dtype}" for i, a in enumerate(arrays) if a is not None)
        kind = DTypeError if isinstance(error, TypeError) else ShapeError
        return kind(f"op '{self.name}': {error} ({got})")

    def _node(self, y, inputs, pullbacks, versions):
        """The Node of a call; None if no argument with a pullback is on the tape."""
        try:
            complete = callable(pullbacks) or not (None in inputs or None in pullbacks
                                                   or len(pullbacks) != len(inputs))
        except (TypeError, ValueError):  # no tuple, or arrays in it
            complete = False
        if not complete:
            check_pullbacks(self, pullbacks, len(inputs))
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


def op(*, samples, errors=lambda r: [], check=None, broadcasts=False, takes_halves=False):
    """Register a function ``f(xp, *arrays, **settings) -> (y, pullbacks)`` as an op of its name in `OPS`.

    An op of the same name and module is replaced: a notebook's cell can be run again.

    Args:
        samples: ``samples(r)`` lists argument tuples to check the op on, drawn from ``r``; a dict at the end
            of a tuple holds the settings.
        errors: ``errors(r)`` lists pairs (arguments, text): called so, the op must raise an error with that text.
        check: ``check(*arrays, **settings)`` refuses arguments, before any form runs.
        broadcasts: the engine sums gradients down to the shapes of the arguments.
        takes_halves: see `Form`.

    Raises:
        ValueError: "op 'exp' is registered twice, in tinygrad_gpt.ops.elementwise and in __main__; …".
    """
    def register(function) -> Op:
        registered = Op(function, samples=samples, errors=errors, check=check, broadcasts=broadcasts,
                        takes_halves=takes_halves)
        check_name(registered, OPS.get(registered.name))
        OPS[registered.name] = registered
        return registered

    return register


def _is_array(a) -> bool:
    return hasattr(a, "dtype") and not isinstance(a, np.generic)


def _common_backend(arrays):
    """The backend, if these are arrays of one type and dtype (or None) already, as nearly always; else None."""
    kind = type(arrays[0]) if arrays else None
    backend = backend_of_type(kind)
    if backend is not None:
        dtype = arrays[0].dtype
        for a in arrays:
            if a is not None and (type(a) is not kind or a.dtype is not dtype):
                return None
    return backend


def _version(y, arrays, versions):
    """A new Version for the result of an op; that of an argument, if the result shows its memory."""
    base = y.base
    for i, a in enumerate(arrays):
        if y is a or (base is not None and a is not None and (base is a or base is a.base)):
            version = versions[i] or Version()
            if not version.viewed:
                version.viewed = True
            return version
    return Version()


def values_are_checked(array) -> bool:
    """Whether an op looks at values to refuse bad ones. On a device that would wait for it: only in checking mode."""
    return backend_of(array).on_host or current_mode().checking
