"""A stand-in for CuPy on a machine without a GPU: NumPy inside, CuPy's refusals outside.

What CuPy refuses is refused: conversion to the host that nobody asked for, a NumPy array as operand or index, a
name that CuPy does not have, `where=` and `initial=` in a reduction. What CuPy does silently is done or counted:
reading a value waits for the device (`synchronisations`), an integer index outside its axis wraps around, a product by
`matmul` copies factors that are not contiguous, above two axes also those that are transposed (`copies`). What CuPy
leaves undefined is made visible: memory of `empty` holds NaN, `a[i] = v` with an index twice in `i` fails, `add.at`,
which is atomic, adds now in one order and now in another. What runs on the device (`launches`) and takes memory there
(`allocations`) is counted as well. With `pure_float32()` no array may be float64. `Backend.bmm`
is that of CuPy, on a model of cuBLAS.

Source: cupy 14, `cupy/__init__.py`, `cupy/_core/core.pyx`, `_routines_indexing.pyx`, `_routines_linalg.pyx`.
"""

import contextlib
import operator
from functools import partialmethod
from types import SimpleNamespace

import fake_cublas
import numpy as np

from tinygrad_gpt.backend import Backend, register_backend
from tinygrad_gpt.backend.cards import card_of
from tinygrad_gpt.backend.cublas import cublas_product
from tinygrad_gpt.backend.precision import is_half, wide

synchronisations = 0
copies = 0
launches = 0  # kernels, products, copies and fills
allocations = 0
unset = np.nan  # what is in memory of `empty`
_float64_allowed = True

def names(text):
    return frozenset(text.split())


# The names of CuPy 14 that array code may want; each does in CuPy what it does in NumPy.
FUNCTIONS = names("""
    abs absolute add all allclose amax amin any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax
    argmin argpartition argsort argwhere around array array_equal array_split asarray ascontiguousarray
    asfortranarray atleast_1d atleast_2d average bincount bitwise_and bitwise_or bitwise_xor broadcast_arrays
    broadcast_to cbrt ceil clip column_stack concatenate copy copysign copyto cos cosh count_nonzero cross cumprod
    cumsum degrees diag diagonal diff divide divmod dot dstack einsum empty empty_like equal exp exp2 expand_dims
    expm1 eye fabs flatnonzero flip fliplr flipud floor floor_divide fmax fmin fmod full full_like gradient greater
    greater_equal histogram hstack hypot identity indices inner interp invert isclose isfinite isin isinf isnan kron
    left_shift less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or
    logical_xor logspace matmul max maximum may_share_memory mean median meshgrid min minimum mod moveaxis multiply
    nan_to_num nanmax nanmean nanmin nansum negative nonzero not_equal ones ones_like outer pad partition percentile
    power prod ptp put quantile ravel ravel_multi_index reciprocal remainder repeat reshape resize right_shift rint
    roll rollaxis rot90 round searchsorted select shares_memory sign signbit sin sinh size sort split sqrt square
    squeeze stack std subtract sum swapaxes take take_along_axis tan tanh tensordot tile trace transpose tri tril
    tril_indices triu triu_indices true_divide trunc unique unravel_index unwrap vander var vdot vsplit vstack where
    zeros zeros_like
    """)
CONSTANTS = names("""
    bool_ complex64 complex128 dtype e finfo float16 float32 float64 iinfo inf int8 int16 int32 int64 intp nan
    newaxis pi can_cast promote_types issubdtype floating integer uint8 uint16 uint32 uint64
    """)
METHODS = names("""
    all any argmax argmin argpartition argsort astype choose clip compress conj copy cumprod cumsum diagonal dot
    fill flatten max mean min nonzero partition prod put ravel repeat reshape round searchsorted sort squeeze std
    sum swapaxes take trace transpose var view
    """)
REFUSED_SETTINGS = frozenset({"where", "initial", "like", "casting", "subok"})
ATOMIC = names("int32 uint32 uint64 float16 float32 float64 complex64 complex128")
NO_LAUNCH = frozenset({"empty", "empty_like"})
DATA_DEPENDENT = frozenset({"argwhere", "flatnonzero", "nonzero", "unique", "array_equal", "allclose"})  # wait


def _synchronise():
    global synchronisations
    synchronisations += 1


def _launched(made=None, sources=()):
    """Count a launch, unless what it made is a view of its sources."""
    global launches
    views = [v for v in (made if isinstance(made, (tuple, list)) else [made]) if isinstance(v, Array)]
    launches += not (views and all(v.base is not None or any(v is s for s in sources) for v in views))
    return made


@contextlib.contextmanager
def pure_float32():
    """In this block an array of float64 fails where it is made."""
    global _float64_allowed
    _float64_allowed = False
    try:
        yield
    finally:
        _float64_allowed = True


def _product(a, b):
    """`cupy.matmul`: halves with sums in float32 (it knows no TF32 policy), bfloat16 up to two axes only."""
    global copies
    for factor in (a, b):
        flags = factor.flags
        copies += not (flags.c_contiguous or (flags.f_contiguous and max(a.ndim, b.ndim) <= 2))
    if max(a.ndim, b.ndim) > 2 and "bfloat16" in (a.dtype.name, b.dtype.name):
        raise TypeError("matmul: bfloat16 arrays of more than two axes are not supported")
    dtype = np.promote_types(a.dtype, b.dtype)
    return np.matmul(a.astype(wide(dtype), copy=False), b.astype(wide(dtype), copy=False)).astype(dtype, copy=False)


def _plain(value):
    """What NumPy may work on: the memory of a strict array, or a scalar. A NumPy array is refused as CuPy does."""
    if isinstance(value, Array):
        return value.memory
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(v) for v in value)
    return value


def _wrapped(value, sources=()):
    global allocations
    if isinstance(value, (tuple, list)):
        return type(value)(_wrapped(v, sources) for v in value)
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    memory = np.asarray(value)
    assert _float64_allowed or memory.dtype != np.float64, "float64 in float32 work"
    owner = next((s for s in sources if isinstance(s, Array) and np.may_share_memory(s.memory, memory)), None)
    allocations += owner is None
    return Array(memory, None if owner is None else owner if owner.base is None else owner.base)


class Function:
    """A function of the package, called with CuPy's arrays and refusals."""

    def __init__(self, name):
        self.name = self.__name__ = name
        self.numpy = {"matmul": _product}.get(name) or getattr(np, name)
        self.calls = 0

    def __call__(self, *args, out=None, **settings):
        refused = REFUSED_SETTINGS & settings.keys() - ({"where", "casting"} if self.name == "copyto" else set())
        if refused:
            raise TypeError(f"{self.name}: CuPy has no {', '.join(sorted(refused))}")
        if self.name in DATA_DEPENDENT:
            _synchronise()
        if self.name in ("asarray", "array") and args and isinstance(args[0], np.ndarray):
            return _wrapped(np.array(args[0], **settings))  # an explicit transfer
        settings = {key: _plain(value) for key, value in settings.items()}
        if out is not None:
            self.numpy(*_plain(args), out=_plain(out), **settings)
            return _launched(out)
        result = _wrapped(self.numpy(*_plain(args), **settings), args)
        if self.name not in NO_LAUNCH:
            _launched(result)
        if self.name in ("empty", "empty_like") and (result.dtype.kind == "f" or is_half(result.dtype)):
            result.memory.fill(unset)
        return result

    def at(self, target, index, values):
        """With atomics, for the dtypes that have them; of 1-D indices every other call takes the last first."""
        if target.dtype.name not in ATOMIC:
            raise TypeError(f"{self.name}.at: supports only {', '.join(sorted(ATOMIC))}, not {target.dtype}")
        self.calls += 1
        _launched()
        index, values = target.wrapped_index(index), _plain(values)
        if self.calls % 2 and isinstance(index, np.ndarray) and index.ndim == 1 and index.dtype.kind != "b":
            values = np.broadcast_to(values, (len(index), *target.shape[1:]))
            index, values = index[::-1], values[::-1]
        self.numpy.at(_plain(target), index, values)


class Package:
    """What ops get as ``xp``: the names that CuPy has, and no others."""

    cuda = fake_cublas.cuda

    def __getattr__(self, name):
        if name in CONSTANTS:
            return getattr(np, name)
        if name not in FUNCTIONS:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        function = self.__dict__[name] = Function(name)
        return function

    @property
    def ndarray(self):
        return Array


xp = Package()


def _operator(name):
    def method(self, other):
        if not isinstance(other, (Array, int, float, complex, np.generic)):
            if isinstance(other, np.ndarray):
                raise TypeError(f"Unsupported type {type(other)}")
            return NotImplemented
        compute = _product if name == "matmul" else getattr(operator, name)
        return _launched(_wrapped(compute(self.memory, _plain(other))))

    def reflected(self, other):
        if isinstance(other, np.ndarray):
            raise TypeError(f"Unsupported type {type(other)}")
        return _launched(_wrapped(getattr(operator, name)(_plain(other), self.memory)))

    def in_place(self, other):
        ufunc = {"sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "and_": "bitwise_and",
                 "or_": "bitwise_or", "xor": "bitwise_xor", "rshift": "right_shift", "lshift": "left_shift",
                 "floordiv": "floor_divide", "mod": "remainder"}.get(name, name)
        _launched()
        getattr(np, ufunc)(self.memory, _plain(other), out=self.memory)
        return self

    return method, reflected, in_place


class Array:
    """An array that CuPy would keep on the device. Tests read it through `Backend.to_numpy`."""

    __hash__ = None
    __array_priority__ = 100

    def __init__(self, memory, base=None):
        self.memory = memory
        self.base = base

    # -- read without waiting: shape and dtype are known on the host

    shape = property(lambda self: self.memory.shape)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)
    dtype = property(lambda self: self.memory.dtype)
    itemsize = property(lambda self: self.memory.itemsize)
    nbytes = property(lambda self: self.memory.nbytes)
    strides = property(lambda self: self.memory.strides)
    data = property(lambda self: SimpleNamespace(ptr=self.memory.ctypes.data))  # the address is known, too
    T = property(lambda self: _wrapped(self.memory.T, (self,)))

    @property
    def flags(self):
        return Flags(self.memory)

    def __len__(self):
        return len(self.memory)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # -- refused

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. "
                        "Please use `.get()` to construct a NumPy array explicitly.")

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        if method != "__call__" or any(isinstance(x, np.ndarray) for x in inputs):
            raise TypeError(f"Unsupported type {np.ndarray}")
        return getattr(xp, ufunc.__name__)(*inputs, **settings)

    # -- waits for the device

    def get(self):
        _synchronise()
        return self.memory.copy()

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def __index__(self):
        return operator.index(self.get())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, how):
        return format(self.get(), how)

    # -- indexing

    def wrapped_index(self, index):
        """The index for NumPy, its integer arrays wrapped around their axes."""
        parts = list(index) if isinstance(index, tuple) else [index]
        plain, axis = [], 0
        for i, part in enumerate(parts):
            if isinstance(part, (np.ndarray, range)):
                raise TypeError(f"Unsupported type {type(part)}")
            if part is Ellipsis:
                plain.append(part)
                axis = self.ndim - sum(self._axes(p) for p in parts[i + 1:])
                continue
            if isinstance(part, (Array, list)):
                part = np.asarray(_plain(part))
                if part.dtype.kind in "iu" and self.shape[axis]:
                    part = part % self.shape[axis]
                elif part.dtype.kind == "b":
                    _synchronise()  # CuPy must know how many are True
                axis += part.ndim - 1 if part.dtype.kind == "b" else 0
            plain.append(part)
            axis += part is not None
        return tuple(plain) if isinstance(index, tuple) else plain[0]

    @staticmethod
    def _axes(part):
        if part is None:
            return 0
        return part.ndim if isinstance(part, Array) and part.dtype.kind == "b" else 1

    def __getitem__(self, index):
        return _launched(_wrapped(self.memory[self.wrapped_index(index)], (self,)))

    def __setitem__(self, index, values):
        where = self.wrapped_index(index)
        if any(isinstance(part, (Array, list)) for part in (index if isinstance(index, tuple) else (index,))):
            places = np.arange(self.size).reshape(self.shape)[where].reshape(-1)
            assert len(np.unique(places)) == len(places), "a[i] = v with an index twice in i is undefined in CuPy"
        _launched()
        self.memory[where] = _plain(values)

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")

        def method(*args, out=None, **settings):
            if REFUSED_SETTINGS & settings.keys():
                raise TypeError(f"{name}: CuPy has no {', '.join(sorted(REFUSED_SETTINGS & settings.keys()))}")
            if name in DATA_DEPENDENT:
                _synchronise()
            settings = {key: _plain(value) for key, value in settings.items()}
            if out is not None:
                settings["out"] = _plain(out)
            result = getattr(self.memory, name)(*_plain(args), **settings)
            return _launched(out if out is not None else _wrapped(result, (self,)))

        return method


class Flags:
    """The three that CuPy has."""

    def __init__(self, memory):
        self.c_contiguous = memory.flags.c_contiguous
        self.f_contiguous = memory.flags.f_contiguous
        self.owndata = memory.flags.owndata


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift",
              "rshift"):
    _forward, _reflected, _in_place = _operator(_name)
    _bare = _name.strip("_")
    setattr(Array, f"__{_bare}__", _forward)
    setattr(Array, f"__r{_bare}__", _reflected)
    setattr(Array, f"__i{_bare}__", _in_place)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Array, f"__{_name}__", _operator(_name)[0])
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Array, f"__{_name}__",
            partialmethod(lambda self, f: _launched(_wrapped(f(self.memory))), getattr(operator, _name)))


def _index_add(target, index, values):
    xp.add.at(target, index, values)


def _erf(x):
    from scipy.special import erf

    return _wrapped(erf(x.memory))


def load():
    """The stand-in as a `Backend`."""
    return Backend(
        name="strict", xp=xp, array_type=Array, from_numpy=xp.asarray, to_numpy=Array.get, index_add=_index_add,
        bmm=cublas_product(xp, fake_cublas), erf=_erf, synchronize=_synchronise, memory=lambda: 0, on_host=False,
        card=lambda: card_of(int(xp.cuda.Device().compute_capability)),
    )


register_backend("strict", load)
