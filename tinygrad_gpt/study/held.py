"""A forward pass that tells the values of its expressions, and can keep one of them constant."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Held", "instrumented", "named_numbers", "named_values"]


class _Holding(ast.NodeTransformer):
    """Wraps each computed expression outside the pullbacks: ``held_(number, text, expression)``."""

    def __init__(self):
        self.count = 0

    def visit_FunctionDef(self, node):
        node.body = [self.visit(s) if not isinstance(s, ast.FunctionDef) else s for s in node.body]
        return node

    def visit_Assign(self, node):
        """The value of ``name = expression`` goes by its name."""
        names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        node.value = self._wrapped(self.generic_visit(node.value), names[0] if names else ast.unparse(node.value))
        return node

    def visit_Return(self, node):
        """Only the result, not the pullbacks; the result itself is no part."""
        y = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
        self.generic_visit(y)
        return node

    def visit_BinOp(self, node):
        text = ast.unparse(node)
        return self._wrapped(self.generic_visit(node), text)

    visit_Call = visit_UnaryOp = visit_Subscript = visit_BinOp

    def _wrapped(self, node, text):
        self.count += 1
        return ast.Call(ast.Name("held_", ast.Load()), [ast.Constant(self.count), ast.Constant(text), node], [])


class Held:
    """What the wrapped expressions call: keeps their values, or gives back those that are frozen.

    Attributes:
        values: text and value of each expression, by number, of the last call in which none was frozen.
        frozen: numbers of the expressions that keep these values.
    """

    def __init__(self):
        self.values: dict[int, tuple[str, Any]] = {}
        self.frozen: frozenset[int] = frozenset()

    def __call__(self, number, text, value):
        if number in self.frozen:
            return self.values[number][1]
        if not self.frozen:
            self.values[number] = text, value
        return value


@functools.cache
def instrumented(forward: Callable) -> tuple[Callable, Held]:
    """The forward pass with its expressions wrapped, and what they call.

    Raises:
        OSError, TypeError: it has no source, because it was typed into an interpreter.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(forward)))
    function: ast.FunctionDef = tree.body[0]  # type: ignore[assignment]
    function.decorator_list = []
    tree = ast.fix_missing_locations(_Holding().visit(tree))
    held = Held()
    namespace = {**forward.__globals__, "held_": held}
    exec(compile(tree, "<held>", "exec"), namespace)
    return namespace[forward.__name__], held


def named_values(forward: Callable, xp, arguments: tuple, settings: dict) -> dict[str, np.ndarray]:
    """The arrays of floats or bools that a forward pass gives names to; empty if it has no source."""
    return {text: value for text, value in _named(forward, xp, arguments, settings)
            if isinstance(value, np.ndarray) and value.dtype.kind in "fb"}


def named_numbers(forward: Callable, xp, arguments: tuple, settings: dict) -> dict[str, float]:
    """The floats that a forward pass gives names to; empty if it has no source."""
    return {text: float(value) for text, value in _named(forward, xp, arguments, settings)
            if isinstance(value, (float, np.floating))}


def _named(forward, xp, arguments, settings) -> list[tuple[str, Any]]:
    try:
        function, held = instrumented(forward)
    except (OSError, TypeError):
        return []
    held.frozen, held.values = frozenset(), {}
    function(xp, *arguments, **settings)
    return [(text, value) for text, value in held.values.values() if text.isidentifier()]
