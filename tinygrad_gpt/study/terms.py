"""Products of what is at hand in an op (g, arguments, intermediate values), to name a gradient or a part of one."""

import functools
import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_gpt.study.cases import Case, summed
from tinygrad_gpt.study.numbers import LIMIT, coefficient, ratio_of

__all__ = ["as_forgotten_sum", "as_matrix_product", "as_pair", "as_ratio", "as_term"]

MOST_ATOMS = 8
LARGEST = 40  # entries of a gradient for which terms are sought


class Term(NamedTuple):
    """A product that is linear in g, in words and as values of the wanted shape."""

    text: str
    values: np.ndarray


def _atoms(case: Case) -> dict[str, np.ndarray]:
    """The different arrays at hand by name; masks as 0 and 1."""
    unique: dict[str, np.ndarray] = {}
    for name, array in case.locals.items():
        array = array.astype(float)
        if array.size and not any(a.shape == array.shape and np.allclose(a, array) for a in unique.values()):
            unique[name] = array
    return dict(list(unique.items())[:MOST_ATOMS])


def _products(atoms: dict[str, np.ndarray], most: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Products of up to ``most`` atoms whose shapes broadcast; of none it is 1."""
    for k in range(most + 1):
        for names in itertools.combinations_with_replacement(atoms, k):
            value: np.ndarray = np.ones(())
            try:
                for name in names:
                    value = value * atoms[name]
            except ValueError:
                continue
            yield names, value


def _fitting(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Values summed down, or repeated, to a shape; None if that cannot be."""
    try:
        if value.ndim > len(shape) or any(a > b for a, b in zip(value.shape[::-1], shape[::-1], strict=False)):
            value = summed(value, shape)
        return np.broadcast_to(value, shape)
    except (ValueError, np.exceptions.AxisError):
        return None


def _times(a, b):
    try:
        return a * b
    except ValueError:
        return None


def _plain(case: Case, shape, most: int) -> Iterator[Term]:
    for names, value in _products(_atoms(case), most):
        product = _times(case.g, value)
        if product is not None and (fitted := _fitting(product, shape)) is not None:
            yield Term(" · ".join(("g", *names)), fitted)


def _reduced(case: Case, shape) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """Text, values, the values without the sum, and its length, of products outside and inside a sum over an axis."""
    atoms = _atoms(case)
    outer = list(_products(atoms, 2))
    for inner_names, inner in _products(atoms, 2):
        product = _times(case.g, inner)
        if product is None:
            continue
        for axis in (axis for axis in range(product.ndim) if product.shape[axis] > 1):
            total = product.sum(axis=axis, keepdims=True)
            for names, value in outer:
                with_sum, without = _times(total, value), _times(product, value)
                if with_sum is None or without is None or without.shape != shape:
                    continue
                with_sum = np.broadcast_to(with_sum, shape)
                inside = " · ".join(("g", *inner_names))
                yield " · ".join((*names, f"Σ({inside}, axis {axis})")), with_sum, without, product.shape[axis]


@functools.lru_cache(maxsize=4)
def _dictionary(case: Case, shape, most: int = 3) -> list[Term]:
    """Different terms, simple ones first."""
    if math.prod(shape) > LARGEST:
        return []
    terms = [*_plain(case, shape, most), *(Term(text, values) for text, values, *_ in _reduced(case, shape))]
    return [term for term in terms if np.isfinite(term.values).all() and term.values.any()]


def _fit(values: np.ndarray, wanted: np.ndarray) -> float | None:
    """The number c for which c · values is what is wanted, up to rounding; None if there is none."""
    squares = float((values * values).sum())
    if not squares or not math.isfinite(squares):
        return None
    c = float((values * wanted).sum()) / squares
    fits = np.abs(wanted - c * values).max(initial=0) <= LIMIT * max(1e-3, np.abs(wanted).max(initial=0))
    return c if fits and abs(c) > 1e-6 else None


def _with(case, c, text):
    if abs(abs(c) - 1) < LIMIT:
        return f"{'−' if c < 0 else ''}{text}"
    if (axis := re.search(r"Σ\(.*axis (\d+)\)", text)) and int(axis[1]) < case.g.ndim:
        n = case.g.shape[int(axis[1])]
        if any(abs(abs(c) * n - k) < 1e-6 for k in (1, 2)):  # a mean, then
            c, text = c * n, text.replace("Σ(", "mean(")
            return f"{'−' if c < 0 else ''}{'2 · ' if abs(c) > 1.5 else ''}{text}"
    return f"{coefficient(case, c)} · {text}"


def as_term(case: Case, wanted: np.ndarray) -> str | None:
    """What is wanted as one term with a coefficient, such as "−x_hat · Σ(g · weight, axis 2)"; None if it is none."""
    for text, values in _dictionary(case, wanted.shape):
        if (c := _fit(values, wanted)) is not None:
            return _with(case, c, text)
    return None


def as_pair(case: Case, wanted: np.ndarray) -> str | None:
    """What is wanted as the sum of two terms with coefficients; None if it is none."""
    terms = _dictionary(case, wanted.shape)[:1500]
    if wanted.size < 6 or not terms:  # two terms fit five entries too easily
        return None
    rows = np.array([term.values.ravel() for term in terms])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    target = wanted.ravel() / np.linalg.norm(wanted)
    along, gram = rows @ target, rows @ rows.T
    with np.errstate(all="ignore"):  # the share of the target that each pair explains
        share = (along[:, None] ** 2 + along[None] ** 2 - 2 * gram * along[:, None] * along[None]) / (1 - gram ** 2)
    share[~(np.abs(gram) < 1 - 1e-9)] = 0
    for i, j in np.argwhere(np.triu(share, 1) > 1 - 1e-9)[:20]:
        system = np.stack([terms[i].values.ravel(), terms[j].values.ravel()], axis=1)
        c = np.linalg.lstsq(system, wanted.ravel(), rcond=None)[0]
        if np.abs(system @ c - wanted.ravel()).max() <= LIMIT * np.abs(wanted).max():
            return f"{_with(case, float(c[0]), terms[i].text)} + {_with(case, float(c[1]), terms[j].text)}"
    return None


def as_forgotten_sum(case: Case, wanted: np.ndarray) -> str | None:
    """The sum or mean that is missing in yours, or is there too much, from yours minus right; None if there is none."""
    for text, with_sum, without, n in _reduced(case, wanted.shape) if wanted.size <= LARGEST else ():
        for what, reduced in (("sum", with_sum), ("mean", with_sum / n)):
            c = _fit(without - reduced, wanted)
            if c is None or abs(abs(c) - 1) > LIMIT:
                continue
            axis = text[text.rindex("axis"):-1]
            if _is_simple(case, case.right - c * reduced) or not _is_simple(case, case.right + c * without):
                return f"the {what} over {axis} in {text} is forgotten"
            done = "summed" if what == "sum" else "averaged"
            inside = text[text.index("Σ(") + 2:text.rindex(", axis")]
            return f"{text.replace(text[text.index('Σ('):], inside)} is {done} over {axis}, which it should keep"
    return None


def _is_simple(case: Case, rest: np.ndarray) -> bool:
    """Whether nothing is left of a gradient without one of its terms, or one other term."""
    return case.close(rest, np.zeros_like(rest)) or as_term(case, rest) is not None


def as_ratio(case: Case, yours: np.ndarray, right: np.ndarray) -> str | None:
    """How yours differs from the right gradient, if by a factor that is an array; None if it does not.

    Returns:
        "the factor rstd is missing", "the factor y is too much", "y is in place of x".
    """
    atoms = {"g": case.g, **_atoms(case)}
    varying = {name: a for name, a in atoms.items() if np.ptp(a) > 0 and _fitting(a, right.shape) is not None
               and a.ndim <= right.ndim}
    for (name, array), power in itertools.product(varying.items(), (1, 2)):
        for text, a, b in (("missing", yours * array ** power, right), ("too much", yours, right * array ** power)):
            if (c := ratio_of(a, b)) is not None and abs(abs(c) - 1) < LIMIT:
                if text == "too much" and _has_a_zero_rival(yours, right, varying, power):
                    continue
                degree = "" if power == 1 else f" to the power {power}"
                return f"the factor {name}{degree} is {text}" + (", and the sign is wrong" if c < 0 else "")
    nowhere_zero = {name: a for name, a in varying.items() if a.all()}
    for (one, a), (other, b) in itertools.permutations(nowhere_zero.items(), 2):
        for power in (1, 2):
            if (c := ratio_of(yours * b ** power, right * a ** power)) is not None and abs(abs(c) - 1) < LIMIT:
                return f"{one} stands where {other} should"
    return None


def _has_a_zero_rival(yours: np.ndarray, right: np.ndarray, atoms: dict[str, np.ndarray], power: int) -> bool:
    """Whether the factor too much may as well be an array with zeros, without which the gradient may be wrong there."""
    ratios = (ratio_of(yours, right * a ** power) for a in atoms.values() if not a.all())
    return any(c is not None and abs(abs(c) - 1) < LIMIT for c in ratios)


def as_matrix_product(case: Case, wanted: np.ndarray) -> str | None:
    """What is wanted as a matrix product of g and one array, such as "g @ weightᵀ"; None if it is none."""
    for name, array in _atoms(case).items():
        if array.ndim < 2 or case.g.ndim < 1:
            continue
        for (left, a), (right, b) in itertools.permutations((("g", case.g), (name, array)), 2):
            for text, product in _matrix_products(left, a, right, b):
                c = _fit(product, wanted) if product.shape == wanted.shape else None
                if c is not None:
                    return _with(case, c, text)
    return None


def _matrix_products(left, a, right, b) -> Iterator[tuple[str, np.ndarray]]:
    def turned(x):
        return x.swapaxes(-1, -2) if x.ndim > 1 else x

    for mark_a, first in (("", a), ("ᵀ", turned(a))):
        for mark_b, second in (("", b), ("ᵀ", turned(b))):
            try:
                yield f"{left}{mark_a} @ {right}{mark_b}", first @ second
            except ValueError:
                continue
