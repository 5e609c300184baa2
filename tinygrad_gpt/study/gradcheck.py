"""Compare every pullback with finite differences, op by op, on the op's own samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.autograd import OPS, Op, Tensor
from tinygrad_gpt.backend import is_integer

__all__ = ["Check", "Draw", "check_op", "split_sample"]


class Draw:
    """Draws the arrays of an op's samples, in float64, always the same for one seed."""

    def __init__(self, seed: int = 0):
        self.generator = np.random.default_rng(seed)

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal, float64."""
        return np.asarray(self.generator.standard_normal(shape))

    def positive(self, *shape: int) -> np.ndarray:
        """Uniform in [0.5, 2]."""
        return np.asarray(self.generator.uniform(0.5, 2.0, shape))

    def away_from_zero(self, *shape: int) -> np.ndarray:
        """Uniform in ±[0.5, 2]."""
        return self.positive(*shape) * self.generator.choice([-1.0, 1.0], shape)

    def integers(self, high: int, *shape: int) -> np.ndarray:
        """0 … high − 1, int64."""
        return self.generator.integers(0, high, shape)

    def mask(self, *shape: int) -> np.ndarray:
        """Bool, True three times out of four."""
        return self.generator.random(shape) < 0.75

    def padding(self, batch: int, length: int) -> np.ndarray:
        """Bool (batch, length): True for the first tokens of each row, at least one."""
        lengths = self.generator.integers(1, length + 1, (batch, 1))
        return np.arange(length) < lengths


@dataclass(frozen=True)
class Check:
    """One argument of one op on one sample: directional derivative, analytic and numeric."""

    op: str
    sample: int
    argument: str
    analytic: float
    numeric: float
    error: float

    def passed(self, limit: float = 1e-7) -> bool:
        """Is the relative error within the limit?"""
        return self.error <= limit


def split_sample(sample: tuple) -> tuple[tuple, dict]:
    """Arguments and settings of a sample; the settings are a dict at its end, if any."""
    return (sample[:-1], sample[-1]) if isinstance(sample[-1], dict) else (sample, {})


def check_op(op: Op | str, seed: int = 0, step: float = 1e-6) -> Iterator[Check]:
    """Check each float argument of each sample along a random direction, in float64.

    The derivative of ⟨ȳ, op(x + t·u)⟩ at t = 0 is ⟨x̄, u⟩ by the pullback, and by a central difference
    of width 2·step. The error is their difference over the larger of 1 and the sum of the moduli of the terms.
    """
    op = OPS[op] if isinstance(op, str) else op
    draw = Draw(seed)
    for number, sample in enumerate(op.samples(draw)):
        arguments, settings = split_sample(sample)
        y = op(*arguments, **settings)
        cotangent = draw.normal(*y.shape)
        for i, x in enumerate(arguments):
            if not hasattr(x, "dtype") or is_integer(x.dtype):
                continue
            leaf = Tensor(x, requires_grad=True)
            y = op(*arguments[:i], leaf, *arguments[i + 1:], **settings)
            if y.requires_grad:  # else the op does not differentiate this argument
                y.backward(cotangent)
                yield _compare(op, number, i, sample, leaf, draw.normal(*x.shape), cotangent, step)


def _compare(op, number, i, sample, leaf, direction, cotangent, step):
    arguments, settings = split_sample(sample)

    def along(t):
        moved = [*arguments]
        moved[i] = leaf.numpy() + t * direction
        return op(*moved, **settings).numpy()

    terms = leaf.grad.numpy() * direction
    analytic = float(terms.sum())
    numeric = float((cotangent * (along(step) - along(-step))).sum() / (2 * step))
    error = abs(analytic - numeric) / max(1.0, float(np.abs(terms).sum()))
    return Check(op.name, number, op.argument(i), analytic, numeric, error)
