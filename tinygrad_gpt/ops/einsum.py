"""Sums of products in Einstein's notation, made of products and sums."""

from typing import Any

from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.errors import ShapeError

__all__ = ["einsum"]


def einsum(equation, *operands):
    """The sum of products that an equation describes, such as "bij,bjk->bik".

    Args:
        equation: a letter for each axis, the same for axes that belong together; behind ``->`` the axes of the
            result, without it those that occur once, in alphabetical order.
        operands: a tensor for each part; the result takes memory for all letters before it is summed.

    Raises:
        ShapeError: "einsum: 'ij,jk' has 2 parts but there are 3 operands"; a part that does not fit its operand.

    Source: torch.einsum
    """
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise ShapeError(f"einsum: '{equation}' has {len(parts)} parts but there are {len(operands)} operands")
    letters = sorted(set(left) - {","})
    kept = right if arrow else "".join(a for a in letters if left.count(a) == 1)
    if "." in left or not set(kept) <= set(letters) or len(set(kept)) != len(kept):
        raise ShapeError(f"einsum: '{equation}' is not understood; give a letter for each axis")
    order = kept + "".join(a for a in letters if a not in kept)
    product: Any = None
    for part, x in zip(parts, operands, strict=True):
        factor = _aligned(part, x if isinstance(x, Tensor) else Tensor(x), order)
        product = factor if product is None else product * factor
    summed = tuple(range(len(kept), len(order)))
    return product.sum(axis=summed) if summed else product


def _aligned(part, x, order):
    """A tensor with one axis for each letter of ``order``, of size 1 where it has none."""
    if len(part) != x.ndim:
        raise ShapeError(f"einsum: '{part}' names {len(part)} axes but the operand is {x.shape}")
    for letter in part:
        while part.count(letter) > 1:  # one letter twice: the diagonal, which becomes the last axis
            i, j = (k for k, other in enumerate(part) if other == letter) if part.count(letter) == 2 else (
                part.index(letter), part.rindex(letter))
            x = x.diagonal(0, i, j)
            part = part[:i] + part[i + 1:j] + part[j + 1:] + letter
    present = [letter for letter in order if letter in part]
    x = x.permute(tuple(part.index(letter) for letter in present))
    sizes = dict(zip(present, x.shape, strict=True))
    return x.reshape(tuple(sizes.get(letter, 1) for letter in order))
