"""Names of what is in a module."""

from collections.abc import Iterator
from typing import Any

from tinygrad_gpt.errors import DTypeError, UsageError

__all__ = ["check_name", "joined", "members"]


def joined(path: str, name: str) -> str:
    """The dotted name below a path, which may be empty."""
    return f"{path}.{name}" if path else name


def check_name(module: Any, name: str) -> None:
    """Refuse a name that would hide something, or could not be told from a dotted one."""
    if not isinstance(name, str):
        raise DTypeError(f"{type(module).__name__}: a name is a {type(name).__name__}; give a string")
    if not name or "." in name:
        raise UsageError(f"{type(module).__name__}: {name!r} is no name; give one without dots")
    if hasattr(module, name) and name not in (*dict(module._own()), *module._buffers()):
        raise UsageError(f"{type(module).__name__}: there is an attribute {name!r} already; give another name")


def members(name: str, value: Any, kinds: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """What is of some kinds in an attribute, or in lists, tuples and dictionaries there, with names: "layers.0"."""
    if isinstance(value, kinds):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from members(f"{name}.{i}", item, kinds)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from members(f"{name}.{key}", item, kinds)
