"""Functions that are called before and after a module's forward."""

from collections.abc import Callable
from typing import Any

from tinygrad_gpt.engine.hooks import Handle

__all__ = ["Handle", "ModuleHooks"]


class ModuleHooks:
    """The hooks of one module, in the order in which they were registered.

    Attributes:
        before: ``hook(module, args)``; what it returns replaces the positional arguments.
        after: ``hook(module, args, output)``; what it returns replaces the output.
    """

    def __init__(self) -> None:
        self.before: dict[Handle, Callable] = {}
        self.after: dict[Handle, Callable] = {}

    @staticmethod
    def add(hooks: dict[Handle, Callable], hook: Callable) -> Handle:
        """Register a hook, last."""
        handle = Handle(hooks)
        hooks[handle] = hook
        return handle

    def call(self, module: Any, args: tuple, settings: dict[str, Any]) -> Any:
        """``module.forward(*args, **settings)`` with all hooks; a hook may remove itself."""
        for hook in list(self.before.values()):
            replaced = hook(module, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
        output = module.forward(*args, **settings)
        for hook in list(self.after.values()):
            replaced = hook(module, args, output)
            output = output if replaced is None else replaced
        return output
