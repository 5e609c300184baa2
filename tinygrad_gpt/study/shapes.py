"""What can be wrong with the shape of a gradient: a sum that is forgotten, one too much, an order of axes."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tinygrad_gpt.study.cases import Case

__all__ = ["axes_of", "named_axes", "orders", "other_shape", "shape"]


def shape(case: Case) -> str | None:
    """It has another shape than the argument."""
    yours, right = case.yours, case.right
    if yours.shape == right.shape:
        return None
    for axes in axes_of(yours.ndim):
        if case.close(yours.sum(axis=axes), right) or case.close(yours.sum(axis=axes, keepdims=True), right):
            return f"{_said(case)}: the sum over {named_axes(axes)} is forgotten"
    if yours.ndim == right.ndim and any(case.close(np.transpose(yours, p), right) for p in orders(yours.ndim)):
        return f"{_said(case)}: it is transposed"
    if yours.size == right.size and case.close(yours.reshape(right.shape), right):
        return f"{_said(case)}: the numbers are right, reshape them"
    text = _summed_too_far(case)
    return f"{_said(case)}: {text}" if text else None


def other_shape(case: Case) -> str | None:
    """It has another shape, whose cause was not found."""
    if case.yours.shape == case.right.shape:
        return None
    return _said(case) + (", but that of the result" if case.yours.shape == case.g.shape else "")


def _said(case: Case) -> str:
    return f"its shape is {case.yours.shape}, not that of the argument, {case.right.shape}"


def _summed_too_far(case: Case) -> str | None:
    """The right gradient is summed over axes that it should keep, or something else than it should be is summed."""
    for axes in axes_of(case.right.ndim):
        if any(case.close(case.yours, case.right.sum(axis=axes, keepdims=keep)) for keep in (False, True)):
            return f"where g is {case.g.shape}, it is summed over {named_axes(axes)}, which it should keep"
    for name, a in {"": np.ones(()), **case.locals}.items():
        try:
            product = case.g * a
        except ValueError:
            continue
        sums = {axes: product.sum(axis=axes) for axes in axes_of(product.ndim)}
        instead = [axes for axes, total in sums.items() if case.close(total, case.right)]
        found = [axes for axes, total in sums.items() if case.close(total, case.yours)]
        if instead and found:
            what = f"g · {name}, of shape {product.shape}," if name else f"g, of shape {product.shape},"
            return f"{what} is summed over {named_axes(found[0])}, not {named_axes(instead[0])}"
    return None


def axes_of(ndim: int) -> Iterator[tuple[int, ...]]:
    """All choices of one or more axes, few first."""
    return itertools.chain.from_iterable(itertools.combinations(range(ndim), k) for k in range(1, ndim + 1))


def orders(ndim: int) -> list[tuple[int, ...]]:
    """All orders of axes but the one in which they are."""
    return list(itertools.permutations(range(ndim)))[1:]


def named_axes(axes: Sequence[int]) -> str:
    """"axis 0", or "axes 0, 1"."""
    return ("axis " if len(axes) == 1 else "axes ") + ", ".join(map(str, axes))
