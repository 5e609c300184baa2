"""A gradient rule on one draw of its arguments: what it returns, beside the gradient by differences of a forward pass.

A rule is the plain function of an op, ``f(xp, *arrays, **settings) -> (y, pullbacks)``. The forward pass beside it is a
rule too, of which only y is used; so a right gradient needs no pullback that is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.study.calls import NOT_DIFFERENTIATED, is_float
from tinygrad_gpt.study.held import named_numbers, named_values

__all__ = ["XP", "Case", "Rule", "RuleError", "answer", "cases_of", "numeric_gradient"]

Rule = Callable[..., tuple]
STEP = 3e-4  # of five-point differences, whose error is some 1e-12
XP = get_backend("numpy").namespace


class RuleError(Exception):
    """What a rule returned is no result with one gradient for each argument; the text says why."""


def answer(rule: Rule, arguments: tuple, settings: dict, g: np.ndarray,
           only: int | None = None) -> tuple[np.ndarray, list]:
    """The result of a rule, and its gradient of each argument; None where there is no pullback.

    Args:
        rule: called as ``rule(xp, *arguments, **settings)``.
        arguments, settings: of the call.
        g: the gradient of the result.
        only: number of the argument whose pullback is called; None for all.

    Raises:
        RuleError: "returns nothing: the `return` of grad_x is missing".
    """
    returned = rule(XP, *arguments, **settings)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise RuleError("returns no pair: end with `return y, (grad_x, …)`, one pullback for each argument")
    y, pullbacks = returned
    if callable(pullbacks):
        parts = pullbacks(g)
        if isinstance(parts, np.ndarray) or parts is None:
            raise RuleError("one function in place of the pullbacks returns all gradients; for a single one write a "
                            "comma behind it: `(grad_x,)`")
    else:
        parts = [None if pullback is None or only not in (None, i) else _pulled(pullback, g)
                 for i, pullback in enumerate(pullbacks)]
    return y, [*parts, *[None] * len(arguments)][:len(arguments)]


def _pulled(pullback, g):
    part = pullback(g)
    name = getattr(pullback, "__name__", "a pullback")
    if part is None:
        raise RuleError(f"returns nothing: the `return` of {name} is missing")
    if not isinstance(part, (np.ndarray, np.generic, float, int)):
        raise RuleError(f"{name} returns {type(part).__name__}, not an array")
    return np.asarray(part)


def numeric_gradient(forward: Rule, case_arguments: tuple, settings: dict, i: int, g: np.ndarray) -> np.ndarray:
    """The gradient of ⟨g, y⟩ with respect to the i-th argument, by differences of five points."""
    x = case_arguments[i]
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        def along(t, index=index):
            moved = x.copy()
            moved[index] += t * STEP
            y = forward(XP, *case_arguments[:i], moved, *case_arguments[i + 1:], **settings)[0]
            return float((g * y).sum())

        gradient[index] = (8 * (along(1) - along(-1)) - (along(2) - along(-2))) / (12 * STEP)
    return gradient


@dataclass(frozen=True, eq=False)
class Case:
    """The gradient of one argument on one draw.

    Args:
        rule, forward: the rule that is checked, and one whose y is right.
        names: of the arguments.
        arguments, settings: of the call.
        i: number of the argument.
        g: the gradient of the result.
        broadcasts: whether the engine sums gradients down to the argument's shape.
        siblings: the cases of this argument on all samples of the draw; empty if they are not known.
    """

    rule: Rule
    forward: Rule
    names: tuple[str, ...]
    arguments: tuple
    settings: dict
    i: int
    g: np.ndarray
    broadcasts: bool = False
    siblings: Sequence["Case"] = ()

    @property
    def x(self) -> np.ndarray:
        """The argument."""
        return self.arguments[self.i]

    @property
    def name(self) -> str:
        """Its name."""
        return self.names[self.i]

    def pulled(self, g: np.ndarray) -> np.ndarray:
        """The rule's gradient for another g.

        Raises:
            Exception: whatever the rule raises.
        """
        part = answer(self.rule, self.arguments, self.settings, g, self.i)[1][self.i]
        if part is None:
            raise RuleError(f"'{self.name}' has no gradient: its pullback is None")
        return np.array(summed(np.asarray(part), self.x.shape) if self.broadcasts else part)

    @cached_property
    def is_joint(self) -> bool:
        """Whether one function of the rule returns the gradients of all arguments, or the rule fails before them."""
        try:
            return callable(self.rule(XP, *self.arguments, **self.settings)[1])
        except Exception:  # whatever the rule raises
            return True

    def pulled_twice(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rule's gradient for a g, and what the same pullback returns when it is called again.

        Raises:
            Exception: whatever the rule raises.
        """
        pullbacks = self.rule(XP, *self.arguments, **self.settings)[1]
        first, second = (np.array(pullbacks(g)[self.i] if callable(pullbacks) else pullbacks[self.i](g))
                         for _ in range(2))
        return first, second

    @cached_property
    def yours(self) -> np.ndarray:
        """The rule's gradient."""
        return self.pulled(self.g)

    @cached_property
    def right(self) -> np.ndarray:
        """The gradient by differences."""
        return numeric_gradient(self.forward, self.arguments, self.settings, self.i, self.g)

    @cached_property
    def y(self) -> np.ndarray:
        """The result."""
        return np.asarray(self.forward(XP, *self.arguments, **self.settings)[0])

    @cached_property
    def locals(self) -> dict[str, np.ndarray]:
        """Arrays of the forward pass by name: arguments, intermediate values, the result."""
        found = {name: a for name, a in zip(self.names, self.arguments, strict=False) if is_float(a)}
        found |= {"y": self.y} | named_values(self.forward, XP, self.arguments, self.settings)
        return {name: a for name, a in found.items() if name != "g"}

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Numbers of the forward pass by name, such as a scale, or an array of equal entries; but for 0 and ±1."""
        equal = {name: float(a.flat[0]) for name, a in self.locals.items()
                 if a.size and a.dtype.kind == "f" and not np.ptp(a)}
        found = equal | named_numbers(self.forward, XP, self.arguments, self.settings)
        return {name: n for name, n in found.items() if abs(n) not in (0.0, 1.0)}

    def close(self, a: Any, b: Any) -> bool:
        """Whether two gradients agree, up to the error of the differences."""
        return np.shape(a) == np.shape(b) and bool(
            np.abs(np.asarray(a) - b).max(initial=0) <= 1e-7 * max(1.0, np.abs(b).max(initial=0)))

    @cached_property
    def passed(self) -> bool:
        """Whether the rule's gradient is right."""
        try:
            return self.close(self.yours, self.right)
        except Exception:  # whatever the rule raises
            return False


def summed(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As the engine undoes broadcasting; a gradient to whose shape the argument does not broadcast is left alone."""
    if g.ndim < len(shape) or any(n not in (1, m) for n, m in zip(shape[::-1], g.shape[::-1], strict=False)):
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1), keepdims=True)


def cases_of(rule: Rule, forward: Rule, sample: tuple[tuple, dict], seed: int, broadcasts: bool = False) -> list[Case]:
    """One case for each argument of a sample that has a gradient."""
    arguments, settings = sample
    code = forward.__code__
    names = code.co_varnames[1:code.co_argcount]
    y = np.asarray(forward(XP, *arguments, **settings)[0])
    g = np.asarray(np.random.default_rng((seed, 5)).standard_normal(y.shape))
    return [Case(rule, forward, names, arguments, settings, i, g, broadcasts)
            for i, x in enumerate(arguments) if is_float(x) and (forward.__name__, i) not in NOT_DIFFERENTIATED]
