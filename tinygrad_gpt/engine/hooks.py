"""The handle of a hook: functions that are called with a gradient, or around a module's forward."""

from collections.abc import Callable

__all__ = ["Handle"]


class Handle:
    """Takes a hook away again: by `remove`, by a call, or at the end of a ``with`` block."""

    def __init__(self, hooks: dict["Handle", Callable]):
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self, None)

    __call__ = remove

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
