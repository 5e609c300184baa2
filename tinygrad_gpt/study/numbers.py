"""A factor in the words of an op: a number of its forward pass, a size, a setting, a constant.

One sample has many numbers that are equal by chance, such as the size of an axis and a factor 2 of the formula. So the
factor is looked up on the other samples, too: a size is named only if it is another one there, and the factor with it.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from tinygrad_gpt.study.cases import Case

__all__ = ["coefficient", "named_factor", "ratio_of"]

LIMIT = 1e-6  # relative: a fit that is not exact is no fit
LARGEST = 12  # whole number that is said as one, and not in digits
POWERS = (1.0, -1.0, 0.5, -0.5)
Value = Callable[[Case], float | None]  # of a number on any sample; None where that has none


class Number(NamedTuple):
    """A number of a case in words, and what it is on any case."""

    text: str
    value: Value


def ratio_of(yours: np.ndarray, right: np.ndarray) -> float | None:
    """The number c for which yours = c · right; None if there is none."""
    there = np.abs(right) > 1e-7 * max(1e-3, np.abs(right).max(initial=0))
    if not there.any() or np.abs(yours[~there]).max(initial=0) > 1e-7:
        return None
    c = float((yours * right).sum() / (right * right).sum())
    return c if np.abs(yours - c * right).max() <= LIMIT * np.abs(yours).max() else None


def named_factor(case: Case, ratio: float, elsewhere: Value | None = None) -> str | None:
    """Which number of the forward pass, such as 1/σ of a single row, is a factor too much or missing; None for none."""
    others = _others(case, elsewhere)
    for name in case.numbers:
        divides = re.search(rf"/ {name}\b", inspect.getsource(case.forward)) is not None
        what = f"the division by {name}" if divides else f"the factor {name}"
        for power, missing in ((-1, not divides), (1, divides)):
            if _agrees(partial(_number, name, power), case, ratio, others):
                return f"{what} is {'missing' if missing else 'too much'}"
        for size in _sizes(case, (1.0,)) if divides else ():
            if _agrees(partial(_quotient, name, size.value), case, ratio, others) and _differs(size, case, others):
                return f"it is divided by {size.text}, not by {name}"
    return None


def coefficient(case: Case, c: float, elsewhere: Value | None = None) -> str:
    """A number in the words of the op: "4 (the size of axis 1 of 'x')", "1/√2", "p"; digits if it is none of them.

    Args:
        case: where it was found.
        c: the number.
        elsewhere: what it is on another sample; None if that is not known, and no size is named.
    """
    others, sign = _others(case, elsewhere), "−" if c < 0 else ""
    for size in _sizes(case, POWERS):
        if _agrees(size.value, case, c, others) and _differs(size, case, others):
            return sign + size.text
    for number in (*_settings(case), *_constants(case)):
        if _agrees(number.value, case, c, others):
            return sign + number.text
    for n in range(2, LARGEST + 1):
        for power in POWERS:
            if _near(c, n ** power):
                return sign + _power(str(n), power)
    return f"{sign}{abs(c):.4g}"


def _others(case: Case, elsewhere: Value | None) -> list[tuple[Case, float]]:
    """The other samples on which there is such a factor, and the factor."""
    if elsewhere is None:
        return []
    found = []
    for other in case.siblings:
        if other is case:
            continue
        try:
            ratio = elsewhere(other)
        except Exception:  # whatever the rule raises there
            continue
        if ratio is not None:
            found.append((other, ratio))
    return found


def _near(c: float, value: float | None) -> bool:
    return value is not None and abs(abs(c) - abs(value)) < LIMIT * abs(value)


def _agrees(value: Value, case: Case, c: float, others: list[tuple[Case, float]]) -> bool:
    """Whether a number is the factor, here and on all other samples that have such a number."""
    return _near(c, value(case)) and all(value(other) is None or _near(ratio, value(other)) for other, ratio in others)


def _differs(size: Number, case: Case, others: list[tuple[Case, float]]) -> bool:
    """Whether a size is another one on another sample."""
    return any(size.value(other) not in (None, size.value(case)) for other, _ in others)


def _number(name: str, power: int, case: Case) -> float | None:
    return case.numbers[name] ** power if name in case.numbers else None


def _quotient(name: str, size: Value, case: Case) -> float | None:
    n = size(case)
    return case.numbers[name] / n if n and name in case.numbers else None


def _power(text: str, power: float) -> str:
    return ("" if power > 0 else "1/") + ("" if abs(power) == 1 else "√") + text


def _sizes(case: Case, powers: tuple[float, ...]) -> Iterator[Number]:
    """Sizes of one axis, counted from the front or the back, of all axes but the last, and of all, with powers."""
    for name, shape in _shapes(case).items():
        ends = range(-len(shape), len(shape))
        for first, last in (*((k, k + 1 or None) for k in ends), (0, -1), (0, None)):
            axes, n = range(len(shape))[first:last], math.prod(shape[first:last])
            if n == 1:
                continue
            whose = f"the size of axis {axes[0]} of '{name}'" if len(axes) == 1 else (
                f"the product of the sizes of axes {', '.join(map(str, axes))} of '{name}'")
            for power in powers:
                text = f"{n} ({whose})" if power == 1 else f"{_power(str(n), power)} ({whose} is {n})"
                yield Number(text, partial(_size, name, first, last, power))


def _size(name: str, first: int, last: int | None, power: float, case: Case) -> float | None:
    shape = _shapes(case).get(name)
    if shape is None or not -len(shape) <= first < max(len(shape), 1):
        return None
    return float(math.prod(shape[first:last])) ** power


def _shapes(case: Case) -> dict[str, tuple[int, ...]]:
    arrays = {**dict(zip(case.names, case.arguments, strict=False)), "g": case.g}
    return {name: a.shape for name, a in arrays.items() if isinstance(a, np.ndarray)}


def _settings(case: Case) -> Iterator[Number]:
    for name, setting in case.settings.items():
        if isinstance(setting, float) and 0 < setting < 1:
            for text, rest in ((name, False), (f"(1 − {name})", True)):
                for words, power in ((text.strip("()"), 1), (f"1/{text}", -1), (f"{text}²", 2), (f"1/{text}²", -2)):
                    yield Number(words, partial(_setting, name, rest, power))


def _setting(name: str, rest: bool, power: int, case: Case) -> float | None:
    p = case.settings.get(name, 0)
    return (1 - p if rest else p) ** power if 0 < p < 1 else None


def _constants(case: Case) -> Iterator[Number]:
    for name, value in case.forward.__globals__.items():
        if isinstance(value, float) and value:
            for power in (1, -1):
                yield Number(_power(name, power), partial(_constant, value ** power))


def _constant(value: float, case: Case) -> float | None:
    return value
