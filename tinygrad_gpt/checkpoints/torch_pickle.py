"""The pickle in a file of torch.save, read without running anything that it asks for.

A pickle is a program for a machine with a stack. Of its instructions those that PyTorch writes are done here; the
names it calls are the ones in this file, which make dicts and places of tensors. Every other one is refused.

Source: Python, `pickletools.py`, where each instruction is described; PyTorch, `torch/_utils.py`.
"""

import math
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinygrad_gpt.errors import CheckpointError

__all__ = ["Parts", "Storage", "read_pickle"]

STORAGES = {"FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
            "DoubleStorage": ("F64", 8), "LongStorage": ("I64", 8), "IntStorage": ("I32", 4),
            "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1)}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
PUT, GET = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MAX_AXES, MAX_ARGUMENTS = 32, 8
DAMAGED = "use another copy"
REMEDY = "save model.state_dict() of plain tensors"


@dataclass(frozen=True)
class Storage:
    """A row of numbers in the file.

    Args:
        dtype: safetensors' name.
        key: names it in the file.
        count: of its elements.
    """

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Parts:
    """A tensor: which elements of a storage it has.

    Args:
        storage: where they are.
        offset: of the first one, in elements.
        shape, strides: as in PyTorch, in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether the elements lie in C order without holes; an axis of one element may have any stride."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return math.prod(self.shape) == 0
            step *= size
        return True


class _Mark:
    """What the instruction MARK puts on the stack."""


MARK = _Mark()


@dataclass(frozen=True)
class _Name:
    """A global name that may be called."""

    name: str


def read_pickle(data: bytes) -> Any:
    """Return what a pickle describes: dicts, lists, tuples, texts, numbers, and `Parts` for tensors.

    Raises:
        CheckpointError: a reason without the file's name: "it calls posix.system, and only the names that PyTorch uses
            for tensors are known here; …".
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's, about escapes in texts that are refused anyway
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    if len(machine.stack) != 1:
                        break
                    return machine.stack[0]
                machine.step(opcode.name, argument)
    except CheckpointError:
        raise
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError):  # also of genops
        pass
    raise CheckpointError(f"its pickle is damaged; {DAMAGED}")


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Do one instruction."""
        if opcode in VALUES:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in EMPTY:
            self.stack.append(EMPTY[opcode]())
        elif opcode in PUT:
            self.memo[argument] = self.stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif opcode in GET:
            self.stack.append(self.memo[argument])
        elif opcode in TUPLES:
            self._collect(TUPLES[opcode])
        elif opcode in OTHER:
            OTHER[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise CheckpointError(f"its pickle uses the instruction {opcode}, which no file of tensors needs; {REMEDY}")

    def _collect(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def _since_mark(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:  # a missing mark is an IndexError below the last element
            at -= 1
            if at < 0:
                raise IndexError
        items = self.stack[at + 1:]
        del self.stack[at:]
        return items

    def _mark(self, _: Any) -> None:
        self.stack.append(MARK)

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError
        self.stack[-1] += items

    def _setitem(self, _: Any) -> None:
        self._collect(2)
        self._update(self.stack.pop())

    def _setitems(self, _: Any) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any] | tuple[Any, ...]) -> None:
        """Put keys and values, in turn, into the dict on the stack; only plain keys, as hashing others may recurse."""
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | float | None):
                raise CheckpointError(f"a key of its dicts is a {type(key).__name__}, not a text or number; {REMEDY}")
            self.stack[-1][key] = value

    def _global(self, argument: str) -> None:
        self.stack.append(_known(argument.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError
        self.stack.append(_known(f"{module}.{name}"))

    def _persistent(self, _: Any) -> None:
        """A storage: ('storage', its type, key, device, number of elements)."""
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(storage, _Name) or not isinstance(key, str) or not _natural(count):
            raise TypeError
        dtype, _ = STORAGES[storage.name.removeprefix("torch.")]
        self.stack.append(Storage(dtype, key, count))

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name):
            raise CheckpointError(f"its pickle calls a {type(function).__name__}, which is no name; {REMEDY}")
        if type(arguments) is not tuple or len(arguments) > MAX_ARGUMENTS:  # else many calls with many take long
            raise TypeError
        self.stack.append(CALLS[function.name](*arguments))

    def _build(self, _: Any) -> None:
        """Attributes of an OrderedDict, such as the _metadata of a state_dict: left out."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise CheckpointError(f"its pickle changes a {type(self.stack[-1]).__name__}, which only Python code can; "
                                  f"{REMEDY}")


OTHER: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark, "TUPLE": _Machine._tuple, "APPEND": _Machine._append, "APPENDS": _Machine._appends,
    "SETITEM": _Machine._setitem, "SETITEMS": _Machine._setitems, "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global, "BINPERSID": _Machine._persistent, "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}


def _known(name: str) -> _Name:
    """A name that a file of tensors may use."""
    if name in CALLS or name.removeprefix("torch.") in STORAGES:
        return _Name(name)
    raise CheckpointError(f"it calls {name[:60]!r}, and only the names that PyTorch uses for tensors are known here; "
                          f"{REMEDY}")


def _natural(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Parts:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks, metadata)."""
    if not isinstance(storage, Storage) or not _natural(offset) or {type(shape), type(strides)} != {tuple} \
            or len(shape) != len(strides) or len(shape) > MAX_AXES or not all(map(_natural, shape + strides)):
        raise TypeError
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.count:
        raise CheckpointError(f"a tensor of shape {shape!s:.60} reaches element {last} of a storage of "
                              f"{storage.count}; {DAMAGED}")
    if math.prod(shape) > storage.count:
        raise CheckpointError(f"a tensor of shape {shape!s:.60} repeats elements of a storage of "
                              f"{storage.count}; {REMEDY}")
    return Parts(storage, offset, shape, strides)


def _dict(items: Any = ()) -> dict[Any, Any]:
    """collections.OrderedDict(), whose items follow."""
    if items != ():
        raise CheckpointError(f"its pickle makes an OrderedDict with items in the call; {REMEDY}")
    return {}


def _parameter(tensor: Any, *_: Any) -> Parts:
    """torch._utils._rebuild_parameter(data, requires_grad, backward_hooks)."""
    if not isinstance(tensor, Parts):
        raise TypeError
    return tensor


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict, "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
