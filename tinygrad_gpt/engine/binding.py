"""What a call of an op means: which of its arguments are arrays and which are settings, by position or by name.

    ops.sum_(x, axis=0, keepdims=True)  # NumPy's names
    ops.sum_(x, dim=0, keepdim=True)    # PyTorch's
    ops.sum_(x, 0, True)
    ops.concat([a, b], dim=1)           # or ops.concat(a, b, axis=1)
"""

import inspect

import numpy as np

from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.errors import DTypeError

__all__ = ["axis_of", "bound", "signature"]

# PyTorch's names of arguments and settings that have another name here, mostly NumPy's.
TORCH_NAMES = {"other": "b", "dim": "axis", "keepdim": "keepdims", "weight": "class_weight", "target": "targets"}
UNCHANGEABLE = frozenset({bool, int, float, str, type(None)})


def signature(op) -> inspect.Signature:
    """What a caller of an op writes: without ``xp``, the settings by position or by name."""
    _, *parameters = inspect.signature(op.function).parameters.values()
    arrays, settings = parameters[:op.n_arrays], parameters[op.n_arrays:]
    optional = any(p.default is not inspect.Parameter.empty for p in arrays)
    if op.n_arrays and not (optional and any(p.default is inspect.Parameter.empty for p in settings)):
        parameters = [p.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in parameters]
    return inspect.Signature(parameters)


def bound(op, args, settings):
    """The arrays and the settings of a call of an op.

    Returns:
        A tuple with the arrays, and a dict with the settings under their own names.

    Raises:
        DTypeError: "op 'sum': it has no argument 'axes'; it takes (x, axis=None, keepdims=False)"; too many arguments;
            one is given twice, or an array is missing.
    """
    args, rest = args[:op.n_arrays], args[op.n_arrays:]
    if not op.n_arrays:  # any number of arrays: concat(a, b, axis=0) or concat([a, b], 0)
        is_list = rest and isinstance(rest[0], (list, tuple)) and (len(rest) == 1 or isinstance(rest[1], int))
        args, rest = (tuple(rest[0]), rest[1:]) if is_list else (rest, ())
    if len(rest) > len(op.settings):
        raise DTypeError(f"op '{op.name}': {len(args) + len(rest)} arguments are too many; it takes {signature(op)}")
    given = (*zip(op.settings, rest, strict=False), *settings.items()) if rest else settings.items()
    own, arrays = {}, {}
    for key, value in given:
        if key not in op.settings:
            key, value = _own_name(op, key, value)
            if key in op.arguments:
                arrays[key] = value
                continue
        if key in own:
            raise DTypeError(f"op '{op.name}': '{key}' is given twice")
        own[key] = value if type(value) in UNCHANGEABLE else _copied(raw(value), key)
    return _with_named(op, args, arrays) if arrays else args, own


def axis_of(dim, axis):
    """The axes of a reduction, of which a caller gave PyTorch's ``dim`` or NumPy's ``axis``."""
    if axis is not None:
        return axis
    return tuple(dim) or None if isinstance(dim, (list, tuple)) else dim  # of no axis PyTorch reduces all


def _own_name(op, key, value):
    """An argument or setting that is given under PyTorch's name, or an array by name."""
    known = (*op.arguments, *op.settings) if op.n_arrays else op.settings
    first = op.arguments[op.arguments[0] == "condition"]  # where(condition, input, other)
    name = key if key in known else first if key == "input" else TORCH_NAMES.get(key)
    if name not in known:
        raise DTypeError(f"op '{op.name}': it has no argument '{key}'; it takes {signature(op)}")
    return name, axis_of(value, None) if key == "dim" else value


def _with_named(op, args, arrays):
    """The arrays of a call, those given by name at their places."""
    if twice := arrays.keys() & set(op.arguments[:len(args)]):
        raise DTypeError(f"op '{op.name}': '{min(twice)}' is given twice")
    required = op.arguments[:len(op.arguments) - len(op.function.__defaults__ or ())]
    for name in op.arguments[len(args):1 + max(map(op.arguments.index, arrays))]:
        if name in required and name not in arrays:
            raise DTypeError(f"op '{op.name}': argument '{name}' is missing; it takes {signature(op)}")
        args = (*args, arrays.get(name))
    return args


def _copied(value, name):
    """A setting as the tape keeps it: a later change of an array or a list in it is not seen."""
    if isinstance(value, np.generic):
        return value.item()  # a NumPy float64 would turn float32 work into float64
    if isinstance(value, tuple) or (isinstance(value, list) and name != "index"):  # of an index a list is an array
        return tuple([part.copy() if hasattr(part, "strides") else part for part in value])
    return value.copy() if hasattr(value, "strides") else value
