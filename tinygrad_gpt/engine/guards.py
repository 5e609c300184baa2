"""Guards against values that change between the forward and the backward pass."""

import contextlib
import hashlib
import itertools
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.errors import TapeError

__all__ = ["Lock", "Version", "captured", "next_number", "saved_arrays"]

_PACKAGE = str(Path(__file__).parents[1])
next_number = itertools.count().__next__  # numbers nodes and in-place changes in the order in which they happen


class Version:
    """When one piece of memory was last changed in place; Tensors that share the memory share the Version."""

    # Class attributes: most memory never changes in place, and an instance without attributes is cheap to create.
    changed = -1
    where = ""
    latest: ClassVar[int] = -1  # the number of the last change of any memory: older graphs have nothing to look at

    viewed = False  # whether an op on the tape returned this memory, as reshape does
    lowered: tuple[int, Array] | None = None  # `changed` when it was rounded to half precision, and the copy

    def __reduce__(self):
        """A copy, or the memory in another process, was never changed: the numbers count in one process."""
        return Version, ()

    def bump(self):
        """Note a change."""
        self.changed = Version.latest = next_number()
        if current_mode().checking:
            frame = sys._getframe(1)
            while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
                frame = frame.f_back
            self.where = f", last by {frame.f_code.co_filename}:{frame.f_lineno}"


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
        """Raise TapeError if a saved array is not what it was."""
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
    for name, value in captured(pullbacks):
        if hasattr(value, "strides"):  # not "dtype": the array package has that name as well
            saved.setdefault(name, value)
        elif isinstance(value, tuple):
            saved.update({f"{name}[{i}]": item for i, item in enumerate(value) if hasattr(item, "strides")})
    return saved


def captured(pullbacks):
    """Pairs (name, value) of the variables that pullbacks captured, also through functions and records.

    A record is a NamedTuple; its fields count under their own names.
    """
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
            if hasattr(value, "_asdict"):
                yield from value._asdict().items()
            else:
                yield name, value
