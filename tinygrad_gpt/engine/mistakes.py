"""What the function of an op must return, said where it returns something else.

An op's function returns its result and the pullbacks, one for each argument, in a tuple; a pullback returns an array.
Each function here is called after a cheap test has failed, so a right op pays nothing for its text.
"""

from typing import Any

from tinygrad_gpt.engine.pending import Part, RowGradient
from tinygrad_gpt.errors import TapeError

__all__ = ["check_gradient", "check_joint", "check_name", "check_pullbacks", "no_gradient", "no_pair"]


def no_pair(op, returned: Any) -> TapeError:
    """The error for a function that does not return a pair: "op 'square': it returned ndarray, …"."""
    got = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else _kind(returned)
    return TapeError(f"op '{op.name}': it returned {got}, not the result and the pullbacks; write "
                     f"`return y, {_tuple_of(op)}`")


def check_pullbacks(op, pullbacks: Any, count: int) -> None:
    """Raise TapeError unless it is a tuple or list with at least ``count`` functions, or None for some of them."""
    if not isinstance(pullbacks, (tuple, list)):
        raise TapeError(f"op '{op.name}': behind the result it returned {_kind(pullbacks)}, not its pullbacks; write "
                        f"`return y, {_tuple_of(op)}`, a tuple of functions")
    for i, pullback in enumerate(pullbacks):
        if pullback is not None and not callable(pullback):
            raise TapeError(f"op '{op.name}': the pullback of '{op.argument(i)}' is {_kind(pullback)}, not a function; "
                            f"write `def grad_{op.argument(i)}(g):` and return the gradient from it")
    if len(pullbacks) < count:
        raise TapeError(f"op '{op.name}': '{op.argument(len(pullbacks))}' has no pullback, the tuple is too short; "
                        f"write `return y, {_tuple_of(op)}`, with None for what has no gradient")


def check_joint(op, pullback, grads: Any, count: int) -> None:
    """Raise TapeError unless a joint pullback returned a tuple or list with at least ``count`` gradients."""
    name = getattr(pullback, "__name__", "it")
    if isinstance(grads, (tuple, list)) and len(grads) >= count:
        return
    got = f"{len(grads)} gradients for {count} arguments" if isinstance(grads, (tuple, list)) else _kind(grads)
    raise TapeError(f"op '{op.name}': the one pullback '{name}' returned {got}; write `return y, ({name},)` with a "
                    "comma if it is of one argument, or let it return a tuple with a gradient for each")


def no_gradient(op, i: int) -> TapeError:
    """The error for a pullback that returned None."""
    return TapeError(f"op '{op.name}': the pullback of '{op.argument(i)}' returned None; let it end with `return` and "
                     "the gradient, or put None in its place if the argument has none")


def check_gradient(op, i: int, grad: Any) -> None:
    """Raise TapeError unless a gradient is an array, a RowGradient or a Part."""
    if not (hasattr(grad, "strides") or isinstance(grad, RowGradient | Part)):
        raise TapeError(f"op '{op.name}': the pullback of '{op.argument(i)}' returned {_kind(grad)}, not an array; "
                        "compute it from g and the arrays, with operators and functions of xp")


def check_name(op, old) -> None:
    """Raise ValueError if an op of another module, or of this package, has the name; ``old`` is that op, or None."""
    if old is None:
        return
    here, there = op.function.__module__, old.function.__module__
    if here != there or here.startswith("tinygrad_gpt."):
        raise ValueError(f"op {op.name!r} is registered twice, in {there} and in {here}; give the second function "
                         "another name")


def _kind(value: Any) -> str:
    return "None" if value is None else f"one {type(value).__name__}"


def _tuple_of(op) -> str:
    """How the tuple of the op's pullbacks is written."""
    names = ", ".join(f"grad_{name}" for name in op.arguments)
    return f"({names},)" if len(op.arguments) == 1 else f"({names})"
