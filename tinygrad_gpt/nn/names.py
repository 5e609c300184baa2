"""Names of what is in a module."""

from typing import Any

from tinygrad_gpt.errors import DTypeError, UsageError

__all__ = ["check_name", "joined"]


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
