"""The parts of a gradient: what flows through one expression of the forward pass, and what flows past it.

With the value of an expression held constant, differences give the gradient that flows past it; the rest of the whole
gradient flows through it. No rule is needed for that, only the source of the forward pass.
"""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_gpt.study.cases import XP, Case, Rule
from tinygrad_gpt.study.held import Held, instrumented

__all__ = ["Part", "parts", "shortcuts"]

STEP = 1e-6
SUM = re.compile(r"\.(mean|sum)\([^()]*\)$")
MAXIMUM = re.compile(r"\w+\.max\([^()]*\)")  # subtracted against overflow, it changes no result: constant in every part


class Part(NamedTuple):
    """An expression of a forward pass, and the gradient that flows past it."""

    expression: str
    past: np.ndarray


@functools.lru_cache(maxsize=4)
def parts(case: Case) -> tuple[Part, ...]:
    """The parts of the gradient of a case's argument: each expression through which some of it, not nothing, flows."""
    return tuple(_parts(case))


def _parts(case: Case) -> Iterator[Part]:
    forward, held = _recorded(case)
    if held is None:
        return
    seen = [case.right, np.zeros(case.x.shape)]
    shifts = frozenset(number for number, (text, _) in held.values.items() if MAXIMUM.fullmatch(text))
    sums = frozenset(number for number, (text, _) in held.values.items() if SUM.search(text))
    singles = [(text, frozenset({number})) for number, (text, value) in held.values.items() if _is_float(value)]
    for text, numbers in [*singles, ("the means and sums", sums)]:
        held.frozen = numbers | shifts
        past = _gradient(forward, case)
        if not any(case.close(past, other) for other in seen):
            seen.append(past)
            yield Part(text, past)
    held.frozen = frozenset()


def shortcuts(case: Case) -> Iterator[tuple[str, str, np.ndarray]]:
    """The gradient that leaves out one inner derivative: pairs of names, of an outer and an inner value, and it.

    Both have one shape, and the outer one is computed from the inner one, which may be the argument itself.
    """
    forward, held = _recorded(case)
    if held is None:
        return
    values = dict(held.values)
    by_name = {text: number for number, (text, _) in values.items()}
    for text, number in by_name.items():
        value = values[number][1]
        if not _is_float(value):
            continue
        inner_names = [name for name in _names(case.forward, text) if name in by_name or name == case.name]
        for inner in inner_names:
            value_of = case.x if inner == case.name else values[by_name[inner]][1]
            if np.shape(value_of) == value.shape and _is_float(value_of):
                held.frozen = frozenset({number})
                past, into = _gradient(forward, case), _into(forward, case, held, number)
                held.frozen = frozenset()
                back = into if inner == case.name else _back(forward, case, held, by_name[inner], into)
                yield text, inner, past + back
    held.frozen = frozenset()


def _recorded(case: Case):
    """The instrumented forward pass, and what it holds after one call; None where it has no source."""
    try:
        forward, held = instrumented(case.forward)
    except (OSError, TypeError):  # typed into an interpreter
        return case.forward, None
    held.frozen, held.values = frozenset(), {}
    forward(XP, *case.arguments, **case.settings)
    return forward, held


def _is_float(value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


@functools.cache
def _names(forward: Rule, text: str) -> tuple[str, ...]:
    """The names from which an expression of a forward pass, or the value of this name, is computed at once."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(forward)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == text for t in node.targets):
            return tuple({n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)})
    return tuple({n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} - {text})


def _into(forward: Rule, case: Case, held: Held, number: int) -> np.ndarray:
    """The gradient of <g, y> with respect to the value of an expression that is held."""
    text, value = held.values[number]
    gradient = np.zeros(value.shape)
    for index in np.ndindex(*value.shape):
        sums = []
        for step in (STEP, -STEP):
            moved = value.copy()
            moved[index] += step
            held.values[number] = text, moved
            sums.append(float((case.g * forward(XP, *case.arguments, **case.settings)[0]).sum()))
        gradient[index] = (sums[0] - sums[1]) / (2 * STEP)
    held.values[number] = text, value
    return gradient


def _back(forward: Rule, case: Case, held: Held, number: int, g: np.ndarray) -> np.ndarray:
    """The gradient of <g, value of an expression> with respect to the case's argument."""
    before, after, gradient = case.arguments[:case.i], case.arguments[case.i + 1:], np.zeros(case.x.shape)
    for index in np.ndindex(*case.x.shape):
        sums = []
        for step in (STEP, -STEP):
            moved = case.x.copy()
            moved[index] += step
            forward(XP, *before, moved, *after, **case.settings)
            sums.append(float((g * held.values[number][1]).sum()))
        gradient[index] = (sums[0] - sums[1]) / (2 * STEP)
    return gradient


def _gradient(forward: Rule, case: Case) -> np.ndarray:
    gradient = np.zeros(case.x.shape)
    before, after = case.arguments[:case.i], case.arguments[case.i + 1:]
    for index in np.ndindex(*case.x.shape):
        sums = []
        for step in (STEP, -STEP):
            moved = case.x.copy()
            moved[index] += step
            sums.append(float((case.g * forward(XP, *before, moved, *after, **case.settings)[0]).sum()))
        gradient[index] = (sums[0] - sums[1]) / (2 * STEP)
    return gradient
