"""What can be wrong with a gradient: each claim takes a case, tries one cause on its values, and says it in a sentence.

`CLAIMS` has them in the order in which they are tried: what says most comes first.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tinygrad_gpt.study.calls import is_float
from tinygrad_gpt.study.cases import Case, cases_of, numeric_gradient
from tinygrad_gpt.study.numbers import coefficient, named_factor, ratio_of
from tinygrad_gpt.study.parts import parts, shortcuts
from tinygrad_gpt.study.shapes import axes_of, named_axes, orders, other_shape, shape
from tinygrad_gpt.study.terms import (
    as_forgotten_sum,
    as_matrix_product,
    as_pair,
    as_ratio,
    as_term,
)

__all__ = ["CLAIMS", "raises"]

SMALL = 1e-7


def raises(case: Case) -> str | None:
    """The rule raises an error, or returns no gradients."""
    try:
        case.pulled(case.g)
    except NotImplementedError:
        return "not written yet"
    except Exception as error:
        if "read-only" in str(error):
            return "writes in place into an array that it was given: compute a new one"
        text = str(error) if type(error).__name__ == "RuleError" else f"raises {type(error).__name__}: {error}"
        return f"{text}, with {_shapes(case)}" if text.startswith("raises ") else text
    return None


def _shapes(case: Case) -> str:
    """`x (2, 3), weight (3, 4), g (2, 4)`: the shapes that the rule was given."""
    given = {**dict(zip(case.names, case.arguments, strict=False)), "g": case.g}
    return ", ".join(f"{name} {array.shape}" for name, array in given.items() if isinstance(array, np.ndarray))


def in_place(case: Case) -> str | None:
    """The rule writes into what it was given, or needs again."""
    arguments = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in case.arguments)
    own = Case(case.rule, case.forward, case.names, arguments, case.settings, case.i, case.g.copy(), case.broadcasts)
    first, second = own.pulled_twice(own.g)
    changed = [name for name, a, b in zip(case.names, arguments, case.arguments, strict=False)
               if isinstance(a, np.ndarray) and not np.array_equal(a, b)]
    changed += [] if np.array_equal(own.g, case.g) else ["g"]
    if changed:
        return f"writes in place into {', '.join(changed)}: compute a new array"
    if not np.array_equal(first, second, equal_nan=True):
        return "writes in place into an array that it needs again: called twice, it is another one; compute a new array"
    return None


def not_finite(case: Case) -> str | None:
    """NaN or infinity."""
    return None if np.isfinite(case.yours).all() else "holds NaN or infinity: a division by 0, or a logarithm of 0"


def zero(case: Case) -> str | None:
    """All zeros, where the right one is not."""
    return "all zeros: this way to the loss is missing" if not case.yours.any() and case.right.any() else None


def unused_g(case: Case) -> str | None:
    """It does not depend on g."""
    other = np.random.default_rng(8).standard_normal(case.g.shape)
    if np.array_equal(case.pulled(other), case.yours):
        return "does not depend on g, the gradient of the result: the chain rule multiplies by it"
    return None


def not_linear(case: Case) -> str | None:
    """It is not linear in g."""
    other = np.random.default_rng(9).standard_normal(case.g.shape)
    zeros = case.pulled(np.zeros_like(case.g))
    if zeros.any() and case.close(case.pulled(case.g + other) - zeros, case.yours + case.pulled(other) - 2 * zeros):
        return "not linear in g: with g = 0 it is not 0, something without g is added"
    if case.close(case.pulled(3 * case.g), 3 * case.yours) and case.close(
            case.pulled(case.g + other), case.yours + case.pulled(other)):
        return None
    if case.close(case.pulled(3 * case.g), 9 * case.yours):
        return "not linear in g: g is multiplied by itself"
    if case.close(case.pulled(-case.g), case.yours):
        return "not linear in g: g and −g give the same, as with a modulus of g"
    if case.close(case.pulled(3 * case.g), 3 * case.yours):
        return "not linear in g: it depends on the sign or the order of g; a mask is made of x, not of g"
    return "not linear in g: a pullback only multiplies g by what does not depend on g, and sums"


def factor(case: Case) -> str | None:
    """A constant factor."""
    ratio = ratio_of(case.yours, case.right)
    if ratio is None:
        return None
    if abs(ratio + 1) < 1e-6:
        return "the sign is wrong, all numbers are right"

    def elsewhere(other):
        return ratio_of(other.yours, other.right)

    return named_factor(case, ratio, elsewhere) or (
        f"{coefficient(case, ratio, elsewhere)} times the right one, everywhere")


def another_argument(case: Case) -> str | None:
    """It is that of another argument."""
    for cases in cases_of(case.rule, case.forward, (case.arguments, case.settings), 0, case.broadcasts):
        if cases.i != case.i and cases.x.shape == case.x.shape:
            other = Case(case.rule, case.forward, case.names, case.arguments, case.settings, cases.i, case.g)
            if case.close(case.yours, other.right):
                return f"it is the gradient of '{other.name}'"
    return None


def constant_value(case: Case) -> str | None:
    """An expression was taken as constant, or is the only one that was differentiated."""
    for expression, past in parts(case):
        if case.close(case.yours, past):
            return f"`{expression}` is taken as constant, but depends on '{case.name}'"
        if case.close(case.yours, case.right - past):
            return f"only what flows through `{expression}` is there, the rest is missing"
    return None


def inner_derivative(case: Case) -> str | None:
    """The chain rule was left out at one step."""
    for name, inner, gradient in shortcuts(case):
        if case.close(case.yours, gradient):
            return f"the derivative of {name} by {inner} is forgotten: the chain rule multiplies by it"
    return None


def part_of_it(case: Case) -> str | None:
    """One part of the gradient is wrong by a factor, the rest is right."""
    ways = [(expression, past_it, *_part(case, past, past_it))
            for expression, past in parts(case) for past_it in (False, True)]
    ratios = {(expression, past_it): ratio for expression, past_it, ours, right in ways
              if (ratio := ratio_of(ours, right)) is not None}
    if ratios:  # a factor is one of a whole expression; in parts of it, it is another one, and may be negative
        expression, past_it = min(ratios, key=lambda way: (ratios[way] < 0, -len(way[0])))
        ratio, where = ratios[expression, past_it], _flow(expression, past_it)
        if abs(ratio + 1) < 1e-6:
            return f"{where} has the wrong sign"
        elsewhere = partial(_ratio_of_part, expression=expression, past_it=past_it)
        return f"{where} is multiplied by {coefficient(case, ratio, elsewhere)}"
    texts = ((_flow(expression, past_it), as_ratio(case, ours, right)) for expression, past_it, ours, right in ways)
    return next((f"in {where}, {text}" for where, text in texts if text), None)


def _flow(expression: str, past_it: bool) -> str:
    return f"what flows {'past' if past_it else 'through'} `{expression}`"


def _part(case: Case, past: np.ndarray, past_it: bool) -> tuple[np.ndarray, np.ndarray]:
    """What flows past an expression, or through it: that of yours, if the rest is right, and the right one."""
    return (case.yours - case.right + past, past) if past_it else (case.yours - past, case.right - past)


def _ratio_of_part(case: Case, expression: str, past_it: bool) -> float | None:
    for text, past in parts(case):
        if text == expression:
            return ratio_of(*_part(case, past, past_it))
    return None


def as_if(case: Case) -> str | None:
    """The gradient of the same forward pass with another value of one argument."""
    for j, a in enumerate(case.arguments):
        if j == case.i or not is_float(a):
            continue
        arguments = (*case.arguments[:j], np.ones_like(a), *case.arguments[j + 1:])
        if case.close(case.yours, numeric_gradient(case.forward, arguments, case.settings, case.i, case.g)):
            if _is_scaled_by(case, arguments, a):
                return f"the factor {case.names[j]} is missing"
            return f"'{case.names[j]}' is forgotten: it is the gradient where that is 1"
    return None


def _is_scaled_by(case: Case, arguments: tuple, a: np.ndarray) -> bool:
    """Whether the gradient with an array of ones in place of this one becomes right with this factor beside g."""
    try:
        g = case.g * a
    except ValueError:
        return False
    return g.shape == case.g.shape and case.close(
        numeric_gradient(case.forward, arguments, case.settings, case.i, g), case.right)


def array_factor(case: Case) -> str | None:
    """A factor that is an array is missing, too much, or another one."""
    return as_ratio(case, case.yours, case.right)


def forgotten_sum(case: Case) -> str | None:
    """A sum or mean inside the gradient is missing."""
    return as_forgotten_sum(case, case.yours - case.right)


def matrix_product(case: Case) -> str | None:
    """A matrix product of the wrong operands, or one of them not transposed."""
    yours, right = as_matrix_product(case, case.yours), as_matrix_product(case, case.right)
    if not (yours and right):
        return None
    if sorted(yours.replace("ᵀ", "")) == sorted(right.replace("ᵀ", "")):
        return f"it is {yours}: an operand is transposed, or is not, or they are exchanged"
    return f"it is {yours}: an operand is the wrong one"


def order(case: Case) -> str | None:
    """The right numbers in another order."""
    for axes in orders(case.yours.ndim):
        if case.close(np.transpose(case.yours, axes), case.right):
            return "the right numbers, transposed"
    for axis in range(case.yours.ndim):
        if case.close(np.flip(case.yours, axis), case.right):
            return f"the right numbers, in reverse along axis {axis}"
    return None


def one_term(case: Case) -> str | None:
    """One term more or less than the right gradient."""
    text = as_term(case, case.yours - case.right)
    return f"yours minus right is {text}" if text else None


def masked(case: Case) -> str | None:
    """Wrong only where a mask of bools excludes, or where indices repeat or are ignored."""
    wrong = np.abs(case.yours - case.right) > SMALL * max(1.0, np.abs(case.right).max())
    for name, mask in {**case.locals, **dict(zip(case.names, case.arguments, strict=False))}.items():
        if getattr(getattr(mask, "dtype", None), "kind", "") != "b":
            continue
        try:
            full = np.broadcast_to(mask, wrong.shape)
        except ValueError:
            continue
        if wrong.any() and case.right.any() and not (wrong & full).any() and not case.right[~full].any():
            return f"wrong only where {name} is False: the mask is forgotten"
        if wrong[full].all() and case.right[full].all() and not case.yours[full].any():
            return f"zero where {name} is True: the mask is the wrong way round"
    return _by_index(case, wrong)


def _by_index(case, wrong):
    for name, ids in zip(case.names, case.arguments, strict=False):
        if getattr(getattr(ids, "dtype", None), "kind", "") != "i":
            continue
        ignored = case.settings.get("ignore_index", -100)
        if ids.shape == wrong.shape[:-1] and (ids == ignored).any() and not wrong[ids != ignored].any():
            return f"wrong only in rows where {name} is {ignored}, which do not count: the mask is forgotten"
        rows, counts = np.unique(ids, return_counts=True)
        repeated = np.isin(np.arange(len(wrong)), rows[counts > 1])
        if repeated.any() and wrong[repeated].any() and not wrong[~repeated].any():
            return f"wrong only in rows that {name} names more than once: add, do not assign"
    return None


def ignored_rows(case: Case) -> str | None:
    """It is not zero in rows that do not count, and wrong elsewhere, too."""
    ignored = case.settings.get("ignore_index", -100)
    for name, ids in zip(case.names, case.arguments, strict=False):
        if getattr(getattr(ids, "dtype", None), "kind", "") == "i" and ids.shape == case.right.shape[:-1]:
            rows = ids == ignored
            if case.yours[rows].any() and not case.right[rows].any():
                return f"not 0 in rows where {name} is {ignored}, which do not count; it is wrong elsewhere, too"
    return None


def inverted_mask(case: Case) -> str | None:
    """It is zero where it should not be, and the other way round."""
    if case.yours.shape == case.g.shape and not (case.yours * case.right).any() and case.close(
            case.yours + case.right, case.g):
        return "the mask is the wrong way round: g passes where it should be stopped"
    return None


def by_sign(case: Case) -> str | None:
    """Wrong only where the argument is positive, or negative."""
    wrong = np.abs(case.yours - case.right) > SMALL * max(1.0, np.abs(case.right).max())
    for what, where in (("< 0", case.x < 0), ("> 0", case.x > 0)):
        if wrong.any() and where.any() and not where.all() and not (wrong & ~where).any():
            text = as_term(case, case.yours)
            return f"wrong only where {case.name} {what}" + (f": it is {text}" if text else "")
    return None


def constant_offset(case: Case) -> str | None:
    """Off by one number along an axis."""
    difference = case.yours - case.right
    for axes in sorted(axes_of(difference.ndim), key=len, reverse=True):
        constant = np.ptp(difference, axis=axes).max(initial=0) <= 1e-6 * np.abs(difference).max(initial=0)
        if constant and all(difference.shape[a] > 1 for a in axes):
            return f"off by one number along {named_axes(axes)}: a sum or mean over it is missing, or too much"
    return None


def a_sum_too_much(case: Case) -> str | None:
    """The numbers are summed, averaged or repeated along an axis."""
    for axis in range(case.yours.ndim):
        n = case.yours.shape[axis]
        if n > 1 and np.ptp(case.yours, axis=axis).max(initial=0) <= 1e-9 * np.abs(case.yours).max():
            total = case.right.sum(axis=axis, keepdims=True)
            for what, value in (("summed", total), ("averaged", total / n)):
                if case.close(case.yours, np.broadcast_to(value, case.yours.shape)):
                    return f"it is {what} over axis {axis}, which it should keep"
    return None


def whole(case: Case) -> str | None:
    """What the gradient is, where that is one term."""
    text = as_term(case, case.yours) or as_matrix_product(case, case.yours)
    return f"it is {text}, which is not the derivative" if text else None


def two_terms(case: Case) -> str | None:
    """Two terms differ from the right gradient."""
    text = as_pair(case, case.yours - case.right)
    return f"yours minus right is {text}" if text else None


CLAIMS: dict[str, Callable[[Case], str | None]] = {claim.__name__: claim for claim in (
    raises, in_place, shape, other_shape, not_finite, zero, unused_g, not_linear, factor, another_argument, order,
    inverted_mask, array_factor, masked, by_sign, matrix_product, a_sum_too_much, constant_value, as_if,
    inner_derivative, one_term, part_of_it, forgotten_sum, constant_offset, two_terms, whole, ignored_rows)}
