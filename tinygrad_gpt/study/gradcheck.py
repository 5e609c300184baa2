"""Compare every pullback with finite differences, op by op, on the op's own samples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_gpt.backend import default_backend, is_integer
from tinygrad_gpt.engine import OPS, Op, Tensor, using_ops
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.terminal import aligned, counted

__all__ = ["LIMIT", "NOT_DIFFERENTIATED", "Check", "Draw", "check_forms", "check_op", "check_sample", "check_table",
           "relative_difference", "split_sample", "summary"]

# Arguments that may be floats and are never differentiated, by design.
NOT_DIFFERENTIATED = {("cross_entropy", 2): "class_weight is a setting of the loss"}
LIMIT = 1e-7  # of the relative error: rounding alone makes some 1e-10, a wrong factor 1e-2 and more


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
    """One argument of one op on one sample: its directional derivative by the pullback and by differences.

    Args:
        op, form: the op, and which of its forms ran, as in `using_ops`.
        sample, argument, shape: the sample's number, the argument's name and its shape.
        analytic, numeric: the derivative by the pullback, and by a central difference.
        error: their difference over Σ|terms|, the sum of the moduli of the products that the derivative adds up, or
            over 1 if that is larger; infinite if one of the two is not a finite number.
    """

    op: str
    form: str
    sample: int
    argument: str
    shape: tuple[int, ...]
    analytic: float
    numeric: float
    error: float

    def passed(self, limit: float = LIMIT) -> bool:
        """Whether the relative error is within the limit."""
        return self.error <= limit


def relative_difference(a: float, b: float) -> float:
    """The difference of two numbers over the larger of their moduli; infinite if one of them is not finite.

    Example:
        >>> relative_difference(1e-8, 2e-8), relative_difference(0.0, 0.0)
        (0.5, 0.0)
    """
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0


def split_sample(sample: tuple) -> tuple[tuple, dict]:
    """Arguments and settings of a sample; the settings are a dict at its end, if any.

    Raises:
        TapeError: "samples: each must be a tuple of arguments, not ndarray; write …".
    """
    if not isinstance(sample, tuple) or not sample:
        raise TapeError(f"samples: each must be a tuple of arguments, not {type(sample).__name__}; write a list of "
                        "tuples, with a comma in each, such as `lambda r: [(r.normal(3),)]`")
    return (sample[:-1], sample[-1]) if isinstance(sample[-1], dict) else (sample, {})


def check_op(op: Op | str, seed: int = 0, step: float = 1e-6) -> Iterator[Check]:
    """Check each float argument of each sample along a random direction, in float64, on the default backend.

    The form of the op is that of the block, see `using_ops`; `check_forms` checks all.

    The derivative of ⟨ȳ, op(x + t·u)⟩ at t = 0 is ⟨x̄, u⟩ by the pullback, and by a central difference
    of width 2·step; x̄ is 0 where the pullback is None. The error is their difference over the larger of 1 and the
    sum of the moduli of the terms.
    """
    op = OPS[op] if isinstance(op, str) else op
    draw = Draw(seed)
    for number, sample in enumerate(op.samples(draw)):
        yield from check_sample(op, split_sample(sample), draw, number, step)


def check_sample(op: Op, sample: tuple, draw: Draw, number: int = 0, step: float = 1e-6) -> Iterator[Check]:
    """`check_op` for one sample: its arguments and settings, and its number."""
    arguments, settings = (_placed(part) for part in sample)
    cotangent = draw.normal(*op(*arguments, **settings).shape)
    for i, x in enumerate(arguments):
        if not hasattr(x, "dtype") or is_integer(x.dtype):
            continue
        leaf = Tensor(x, requires_grad=True)
        y = op(*arguments[:i], leaf, *arguments[i + 1:], **settings)
        if y.requires_grad:
            y.backward(_placed(cotangent))
        elif (op.name, i) in NOT_DIFFERENTIATED:
            continue
        direction = draw.normal(*x.shape)
        after, before = (op(*arguments[:i], x + t * _placed(direction), *arguments[i + 1:], **settings).numpy()
                         for t in (step, -step))
        grad = 0.0 if leaf.grad is None else leaf.grad.numpy()
        yield _compare(op, number, i, grad * direction, cotangent * ((after - before) / (2 * step)))


def check_forms(op: Op | str, seed: int = 0, forms: Sequence[str] = ()) -> Iterator[Check]:
    """`check_op` for some forms of an op; for none, for all that the default backend can run."""
    op = OPS[op] if isinstance(op, str) else op
    for form in forms or op.available(default_backend()):
        with using_ops(form):
            yield from check_op(op, seed)


def _placed(value: Any) -> Any:
    """The same with every NumPy array in it, also inside tuples and dicts, on the default backend."""
    if isinstance(value, np.ndarray):
        return default_backend().from_numpy(value)
    if isinstance(value, tuple):
        return tuple(_placed(item) for item in value)
    return {key: _placed(item) for key, item in value.items()} if isinstance(value, dict) else value


def _compare(op, sample, i, analytic_terms, numeric_terms):
    analytic, numeric = float(analytic_terms.sum()), float(numeric_terms.sum())
    error = abs(analytic - numeric) / max(1.0, float(np.abs(analytic_terms).sum()))
    return Check(op.name, current_mode().ops, sample, op.argument(i), analytic_terms.shape, analytic, numeric,
                 error if math.isfinite(error) else math.inf)


def check_table(checks: Sequence[Check]) -> str:
    """The checks as text, one line each; a line that fails says so at its end."""
    rows = [("op", "form", "sample", "argument", "shape", "analytic", "numeric", "error / max(1, Σ|terms|)", "")]
    rows += [(c.op, c.form, str(c.sample), c.argument, str(c.shape), f"{c.analytic:.12f}", f"{c.numeric:.12f}",
              f"{c.error:.1e}", "" if c.passed() else "FAILED") for c in checks]
    return "\n".join(aligned(rows, "<<><<>>><"))


def summary(checks: Sequence[Check]) -> str:
    """One line that counts the ops and arguments, names the worst error, and says whether all passed."""
    if not checks:
        return "0 arguments checked: these ops have none that is differentiated"
    worst, failed = max(checks, key=lambda c: c.error), [c for c in checks if not c.passed()]
    ops, forms = {c.op for c in checks}, {(c.op, c.form) for c in checks}
    arguments = {(c.op, c.argument) for c in checks}
    verdict = f"{len(failed)} FAILED ({', '.join(sorted({c.op for c in failed}))})" if failed else "all passed"
    return (f"{counted(len(ops), 'op')} in {counted(len(forms), 'form')}, {counted(len(arguments), 'argument')}, "
            f"{counted(len(checks), 'check')}, worst relative error {worst.error:.1e} of max(1, Σ|terms|) (op "
            f"{worst.op}, {worst.form}, argument {worst.argument}), limit {LIMIT:.0e}: {verdict}")
