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

from typing import Any

import numpy as np

from tinygrad_gpt.backend import backend_of, default_backend, is_integer
from tinygrad_gpt.errors import BackendError, DTypeError, ShapeError, TinygradError
from tinygrad_gpt.tape import Lock, Node, checking, composed_ops, current_mode, no_grad, saved_arrays
from tinygrad_gpt.tensor import OPS, Tensor, host_array, raw

__all__ = ["OPS", "Op", "Tensor", "checking", "composed_ops", "no_grad", "op", "raw", "values_are_checked"]


class Op:
    """A differentiable function in the registry `OPS`; call it on Tensors, arrays and numbers."""

    def __init__(self, function, samples, errors, composed, broadcasts):
        self.name = function.__name__.rstrip("_")
        self.function = function
        self.samples = samples
        self.errors = errors
        self.composed = composed
        self.broadcasts = broadcasts
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        code = function.__code__
        self.arguments = code.co_varnames[1:code.co_argcount] or ("arrays",)
        self.asks_for_needs = "needs_input_grad" in code.co_varnames

    def argument(self, i: int) -> str:
        """Name of the i-th array argument."""
        return self.arguments[i] if i < len(self.arguments) else f"{self.arguments[-1]}[{i}]"

    def __repr__(self):
        return f"<op {self.name}>"

    def __call__(self, *args, **settings) -> Tensor:
        mode = current_mode()
        if mode.composed and self.composed is not None:
            return self.composed(*[Tensor(a) if hasattr(a, "strides") else a for a in args], **settings)
        arrays, backend = self._unwrapped(args)
        settings = {key: self._setting(key, value) for key, value in settings.items()}
        if self.asks_for_needs:
            settings["needs_input_grad"] = [mode.recording and isinstance(a, Tensor) and a.requires_grad for a in args]
        try:
            y, pullbacks = self.function(backend.xp, *arrays, **settings)
        except TinygradError:
            raise
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            got = ", ".join(f"{self.argument(i)} is {a.shape} {a.dtype}" for i, a in enumerate(arrays) if a is not None)
            kind = DTypeError if isinstance(error, TypeError) else ShapeError
            raise kind(f"op '{self.name}': {error} ({got})") from error
        result = _wrapped(y if isinstance(y, backend.array_type) else backend.xp.asarray(y), args)
        if mode.recording:
            inputs = [a._node if isinstance(a, Tensor) else None for a in args]
            if any(inputs):
                result._node = self._node(inputs, pullbacks, args, result)
                if mode.checking and result._node:
                    result._node.lock = Lock(self, saved_arrays(result._node.pullbacks))
        if mode.observer:
            mode.observer(self, args, result)
        return result

    def _setting(self, key, value):
        if key in self.arguments:
            raise DTypeError(f"op '{self.name}': '{key}' is an array argument; give it by position, not by name")
        # A NumPy float64 would turn float32 work into float64.
        return value.item() if isinstance(value, np.generic) else value

    def _node(self, inputs, pullbacks, args, result):
        """The Node of a call; None if no argument with a pullback is on the tape."""
        if callable(pullbacks):
            captured = set(pullbacks.__code__.co_freevars)
        else:
            # Pullbacks that nobody needs go now, and with them whatever only they captured.
            inputs = [pullback and node for node, pullback in zip(inputs, pullbacks, strict=False)]
            pullbacks = [node and pullback for node, pullback in zip(inputs, pullbacks, strict=False)]
            captured = {name for pullback in pullbacks if pullback for name in pullback.__code__.co_freevars}
            if not any(inputs):
                return None
        if is_integer(result.dtype):
            raise DTypeError(f"op '{self.name}': the result is {result.dtype}, which has no gradient")
        # By name: in an op's body a view of an argument keeps the argument's name, and a saved result is `y`.
        guards = [(a._version, a._version.number, self.argument(i)) for i, a in enumerate(args)
                  if isinstance(a, Tensor) and self.arguments[min(i, len(self.arguments) - 1)] in captured]
        if "y" in captured:
            guards.append((result._version, result._version.number, "y"))
        shapes = [a.shape if isinstance(a, Tensor) else None for a in args]
        return Node(self, inputs, pullbacks, shapes, guards)

    def _unwrapped(self, args):
        """Arrays of all arguments, on one backend and with one floating dtype."""
        arrays: list[Any] = [a._data if isinstance(a, Tensor) else a for a in args]
        backend = dtype = None
        for i, a in enumerate(arrays):
            if not hasattr(a, "dtype") or isinstance(a, np.generic):
                continue
            if backend is None:
                backend = backend_of(a)
            elif type(a) is not backend.array_type and backend_of(a) is not backend:
                raise BackendError(f"op '{self.name}': '{self.argument(i)}' is on {backend_of(a).name} but "
                                   f"'{self.argument(0)}' is on {backend.name}; make both with the same backend")
            if not is_integer(a.dtype):
                if dtype is not None and a.dtype != dtype:
                    raise DTypeError(f"op '{self.name}': '{self.argument(i)}' is {a.dtype} but an earlier argument is "
                                     f"{dtype}; convert one with astype")
                dtype = a.dtype
        backend = backend or default_backend()
        for i, a in enumerate(arrays):
            if a is None:
                continue
            if not hasattr(a, "dtype") or isinstance(a, np.generic):
                a = host_array(a, dtype or np.float32)
            # Numbers and integers take the dtype of the tensors: a NumPy float64 would turn float32 work into float64.
            if self.broadcasts and dtype is not None and a.dtype != dtype and a.dtype.kind != "b":
                a = a.astype(dtype)
            arrays[i] = a if isinstance(a, backend.array_type) else backend.from_numpy(a)
        return arrays, backend


def op(*, samples, errors=lambda r: [], composed=None, broadcasts=False):
    """Register a function ``f(xp, *arrays, **settings) -> (y, pullbacks)`` as an op of its name in `OPS`.

    A function with a setting ``needs_input_grad`` is told there, for each argument, whether its gradient will be asked
    for; so an op may compute gradients on the way forward.

    Args:
        samples: ``samples(r)`` lists argument tuples to check the op on, drawn from ``r``; a dict at the end
            of a tuple holds the settings.
        errors: ``errors(r)`` lists pairs (arguments, text): called so, the op must raise an error with that text.
        composed: the same function written in simpler ops, if the op is a fused one.
        broadcasts: the engine sums gradients down to the shapes of the arguments.
    """
    def register(function) -> Op:
        registered = Op(function, samples, errors, composed, broadcasts)
        if registered.name in OPS:
            raise ValueError(f"op {registered.name!r} is registered twice")
        OPS[registered.name] = registered
        return registered

    return register


def _wrapped(array, args):
    """A Tensor around a result; a view shares its version counter with the argument whose memory it shows."""
    result = Tensor(array)
    for a in args:
        if isinstance(a, Tensor):
            memory = a._data if a._data.base is None else a._data.base
            if array is a._data or array.base is memory or (array.base is not None and array.base is a._data):
                result._version = a._version
    return result


def values_are_checked(array) -> bool:
    """May an op look at values to refuse bad ones? On a device that would wait for it, so only in checking mode."""
    return backend_of(array).on_host or current_mode().checking
