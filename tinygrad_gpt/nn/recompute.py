"""Recompute of a module, whose dropout layers draw the same masks both times."""

from collections.abc import Callable

from tinygrad_gpt.engine.recompute import recompute
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn.layers import Dropout
from tinygrad_gpt.nn.module import Module

__all__ = ["dropout_state", "recomputed"]


def dropout_state(module: Module) -> Callable[[], None]:
    """Save the state of all dropout layers of a module; returns a function that restores it."""
    states = [(layer, layer.state()) for _, layer in module.named_modules() if isinstance(layer, Dropout)]

    def restore():
        for layer, state in states:
            layer.restore(state)

    return restore


def recomputed(module: Module, x: Tensor) -> Tensor:
    """``module(x)``, but only ``x`` is kept for backward, which runs the module a second time."""
    restore = dropout_state(module)

    def again(x):
        restore_present = dropout_state(module)
        restore()
        try:
            return module(x)
        finally:
            restore_present()

    return recompute(module, x, *module.parameters(), again=again)
