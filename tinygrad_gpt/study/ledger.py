"""The ledger: every op of a real step is checked by one backward pass and two forward passes.

Move the parameters along a direction. Each value y of the computation then moves along its tangent ẏ, which calling
each op twice gives as a central difference. Whatever flows into an op must come out of it: with ȳ the gradient of its
result and x̄ the gradient that it sends to an argument x,

    ⟨ȳ, ẏ⟩ = Σ over the arguments of ⟨x̄, ẋ⟩

holds at every op whose rule is right, whether or not the rules of the others are. So the ops at which it fails are the
wrong ones.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import Array, backend_of, to_host
from tinygrad_gpt.engine.mode import no_grad, using_ops
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.study.show import place
from tinygrad_gpt.study.trace import Step, Trace
from tinygrad_gpt.terminal import aligned

__all__ = ["LIMITS", "Balance", "Finding", "arguments_moved", "balances", "directions", "findings", "ledger_table",
           "tangents"]

LIMITS = {"float64": 1e-6, "float32": 1e-4}  # of the relative error
STEP = 1e-5  # half the width of the central differences, as a share of the size of an argument


@dataclass(frozen=True)
class Balance:
    """What flows into one op, and what comes out of it.

    Args:
        step: the call of the op.
        out: ⟨ȳ, ẏ⟩.
        into: ⟨x̄, ẋ⟩ by the argument's number.
        scale: the sum of the moduli of all products in both.
        noise: by how much the rounding of ẏ can move ⟨ȳ, ẏ⟩.
    """

    step: Step
    out: float
    into: Mapping[int, float]
    scale: float
    noise: float

    @property
    def gap(self) -> float:
        """The difference of the two sides."""
        return abs(self.out - sum(self.into.values()))

    @property
    def error(self) -> float:
        """Their difference over the scale; infinite if one is not a finite number."""
        error = self.gap / self.scale if self.gap else 0.0
        return error if math.isfinite(error) else math.inf

    def passed(self, limit: float) -> bool:
        """Whether the two sides agree within the limit and the noise."""
        return self.gap <= limit * self.scale + self.noise


@dataclass(frozen=True)
class Finding:
    """A wrong rule: the op's gradient of one argument disagrees with differences, or its result with the plain form.

    Args:
        step: the call of the op.
        what: "gradient of 'x'", "gradients", or "result".
        where: file:line of the pullback, and of a function of one's own that it calls; of the form that ran, where the
            result is wrong.
        ours, expected: the directional derivative by the pullback and by a central difference; or the value that
            differs most, and that of the plain form.
    """

    step: Step
    what: str
    where: str
    ours: float
    expected: float

    def __str__(self):
        module = f" in {self.step.module}" if self.step.module else ""
        by = "the plain form" if self.what == "result" else "differences"
        return (f"step {self.step.number}, op '{self.step.label}'{module}: wrong {self.what} ({self.where}): "
                f"{self.ours:.9g}, by {by} {self.expected:.9g}")


def directions(parameters: Iterable[tuple[str, Tensor]], seed: int = 0) -> dict[str, np.ndarray]:
    """A random direction for each parameter, of its shape, in proportion to the size of its values; float64."""
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(p.shape) * (np.abs(p.numpy().astype(np.float64)).mean() or 1.0)
            for name, p in parameters}


def tangents(trace: Trace, along: Mapping[str, np.ndarray]) -> list[np.ndarray | None]:
    """How each value of a trace moves when its parameters move along a direction: dy/dt, in float64.

    Each op is called twice, with its arguments moved forth and back along their own tangents. What is off the tape,
    such as a detached tensor, stays where it is.

    Args:
        along: the direction of each parameter, by name; those that are left out stay.

    Returns:
        One tangent for each step, of the shape of its value; None for a step that does not move.
    """
    moved: list[np.ndarray | None] = []
    for step in trace.steps:
        if step.op is None:
            moved.append(along.get(step.label))
        else:
            moved.append(_moved(step, arguments_moved(step, moved)))
    return moved


def arguments_moved(step: Step, moved: Sequence[np.ndarray | None]) -> dict[int, np.ndarray]:
    """The tangents of those arguments of a step that move, by the argument's number."""
    found = {i: moved[source.number] for i, source in enumerate(step.inputs) if source is not None}
    return {i: tangent for i, tangent in found.items() if tangent is not None}


def _moved(step: Step, tangents: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """How the result of an op moves when some of its arguments, by number, move along their tangents."""
    if not tangents:
        return None
    width, results = _width(step, tangents), []
    for change in (width, -width):
        arguments = [a.astype(np.float64) if getattr(getattr(a, "dtype", None), "kind", "") == "f" else a
                     for a in step.arguments]
        for i, tangent in tangents.items():
            arguments[i] = arguments[i] + backend_of(step.value).from_numpy(change * tangent)
        with no_grad():
            results.append(step.op(*arguments, **step.settings).numpy())
    return (results[0] - results[1]) / (2 * width)


def _width(step: Step, tangents: Mapping[int, np.ndarray]) -> float:
    """The time for which arguments move, such that none changes by more than a small share of its size."""
    widths = []
    for i, tangent in tangents.items():
        size = float(np.median(np.abs(to_host(step.arguments[i])))) if tangent.size else 0.0  # masks make huge values
        fastest = float(np.abs(tangent).max(initial=0.0))
        if fastest:
            widths.append(STEP * (size or 1.0) / fastest)
    return min(widths, default=STEP)


def balances(trace: Trace, moved: Sequence[np.ndarray | None]) -> list[Balance]:
    """The ledger of a trace: one row for each op through which a gradient flowed.

    An op that was given values or a gradient that are not finite is left out: whatever made them is wrong.

    Args:
        moved: the tangent of each step, from `tangents`.
    """
    return [_balance(step, moved) for step in trace.ops if step.grad is not None and moved[step.number] is not None
            and _finite(step.grad, *step.arguments)]


def _balance(step, moved) -> Balance:
    terms = {i: _products(step.parts[i], tangent) for i, tangent in arguments_moved(step, moved).items()
             if i in step.parts}
    out = _products(step.grad, moved[step.number])
    scale = sum(float(np.abs(products).sum()) for products in (out, *terms.values()))
    return Balance(step, float(out.sum()), {i: float(products.sum()) for i, products in terms.items()}, scale,
                   _noise(step, moved))


def _products(gradient, tangent) -> np.ndarray:
    return to_host(gradient).astype(np.float64) * tangent


def _finite(*arrays: Array) -> bool:
    return all(bool(backend_of(a).xp.isfinite(a).all()) for a in arrays if hasattr(a, "strides"))


def _noise(step: Step, moved) -> float:
    """By how much the rounding of a step's tangent can move ⟨ȳ, ẏ⟩."""
    width = _width(step, arguments_moved(step, moved))
    g, y = (np.abs(to_host(a).astype(np.float64)) for a in (step.grad, step.value))
    return 8 * float(np.finfo(np.float64).eps) / width * float(np.where(g > 0, g * y, 0.0).sum())


def findings(trace: Trace, moved: Sequence[np.ndarray | None], limit: float) -> list[Finding]:
    """The wrong rules of a trace, in the order of the computation.

    Args:
        moved: the tangent of each step, from `tangents`.
        limit: of the relative errors, see `LIMITS`.
    """
    wrong = [_wrong_gradient(row, moved, limit) for row in balances(trace, moved) if not row.passed(limit)]
    wrong += [found for step in trace.ops if _finite(*step.arguments) and (found := _wrong_result(step, limit))]
    return sorted(wrong, key=lambda finding: finding.step.number)


def _wrong_gradient(row: Balance, moved, limit) -> Finding:
    step = row.step
    for i, tangent in arguments_moved(step, moved).items():
        terms = _products(step.grad, _moved(step, {i: tangent}))
        ours, numeric, scale = row.into.get(i, 0.0), float(terms.sum()), float(np.abs(terms).sum())
        if not abs(ours - numeric) <= limit * (scale + abs(ours)) + row.noise:
            return Finding(step, f"gradient of '{step.argument(i)}'", _where(step, step.pullbacks[i]), ours, numeric)
    where = next((place for place in step.pullbacks if place), "")
    return Finding(step, "gradients", _where(step, where), sum(row.into.values()), row.out)


def _where(step: Step, pullback: str) -> str:
    return f"{pullback}, which calls {' and '.join(step.calls)}" if step.calls else pullback


def _wrong_result(step: Step, limit) -> Finding | None:
    """What is wrong with the result of an op beside that of its plain form."""
    form = step.op.form(backend_of(step.value))
    if form is step.op.plain:
        return None
    with no_grad(), using_ops("plain"):
        plain = step.op(*step.arguments, **step.settings).numpy()
    ours = to_host(step.value)
    gap = np.abs(ours.astype(np.float64) - plain)
    if (gap <= limit * max(1.0, np.abs(plain).max(initial=0.0))).all():
        return None
    worst = np.unravel_index(gap.argmax(), gap.shape)
    return Finding(step, "result", place(form.function), float(ours[worst]), float(plain[worst]))


def ledger_table(rows: Sequence[Balance]) -> str:
    """The rows as text."""
    table = [("step", "op", "module", "out of the result", "into the arguments", "error / Σ|terms|")]
    table += [(str(row.step.number), row.step.label, row.step.module, f"{row.out:+.9g}",
               "  ".join(f"{row.step.argument(i)} {value:+.6g}" for i, value in row.into.items()),
               f"{row.error:.1e}") for row in rows]
    return "\n".join(aligned(table, "><<><>"))
