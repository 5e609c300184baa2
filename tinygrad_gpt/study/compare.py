"""Find the first step at which two runs of one computation differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from tinygrad_gpt.backend import to_host
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.study.trace import Step, Trace
from tinygrad_gpt.terminal import Printed, aligned

__all__ = ["LIMITS", "Comparison", "Record", "Row", "compare", "layers", "limit_for", "records"]

LIMITS = {"float64": 1e-9, "float32": 1e-4, "float16": 2e-2}  # of the relative difference, by the less exact dtype


@dataclass(frozen=True, eq=False)
class Record:
    """What is compared of a step, on the host.

    Args:
        label: name of the op, or of the parameter.
        module: name of the module that called it.
        inputs: places, in the list of records, of those that made its arguments.
        value: its result.
        grad: the gradient of the result; None where none flowed.
        parts: the gradients that it sent, by the argument's name; empty where they are not comparable.
    """

    label: str
    module: str
    inputs: tuple[int, ...]
    value: np.ndarray
    grad: np.ndarray | None
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """How one step of two runs differs.

    Args:
        number: its place in the order of the computation.
        label, module, inputs: as in `Record`.
        value, grad: largest differences, relative to the largest value; infinite where only one run has a number.
        parts: the same of the gradient that it sent to each argument.
    """

    number: int
    label: str
    module: str
    inputs: tuple[int, ...]
    value: float
    grad: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Comparison(Printed):
    """Two runs of one computation, step by step.

    Args:
        rows: one for each step.
        limit: differences up to it are rounding.
    """

    rows: tuple[Row, ...]
    limit: float

    @property
    def value(self) -> Row | None:
        """The first step, on the way forward, whose result differs; None if none does."""
        return next((row for row in self.rows if not row.value <= self.limit), None)

    @property
    def gradient(self) -> Row | None:
        """The first step, on the way back, that is given or sends a gradient that differs; None if none does."""
        return next((row for row in reversed(self.rows)
                     if not max(row.grad, *row.parts.values(), 0.0) <= self.limit), None)

    def __str__(self):
        value, grad = (max(self.rows, key=key) for key in (lambda row: row.value, lambda row: row.grad))
        lines = [f"{len(self.rows)} steps; largest difference of a value {value.value:.1e} ({_name(value)}), of a "
                 f"gradient {grad.grad:.1e} ({_name(grad)}); limit {self.limit:.0e}"]
        if self.value:
            lines += ["", f"first value that differs: {_name(self.value)}, by {self.value.value:.1e}",
                      *self._inputs(self.value)]
        if self.gradient:
            sent = "".join(f"; sent to {name}: {error:.1e}" for name, error in self.gradient.parts.items())
            lines += ["", f"first gradient that differs: {_name(self.gradient)}; of its result: "
                          f"{self.gradient.grad:.1e}{sent}", *self._inputs(self.gradient)]
        return "\n".join(lines if self.value or self.gradient else [*lines, "", "no step differs"])

    def _inputs(self, row: Row) -> list[str]:
        """How the steps differ from which a step was made."""
        table = [("  its inputs", "value", "gradient")]
        table += [(f"  {_name(self.rows[i])}", f"{self.rows[i].value:.1e}", f"{self.rows[i].grad:.1e}")
                  for i in row.inputs]
        return aligned(table, "<>>") if row.inputs else []


def _name(row: Row) -> str:
    return f"step {row.number}, {row.label}{f' in {row.module}' if row.module else ''}"


def records(trace: Trace) -> list[Record]:
    """The steps of a trace; the ops of a composed form count as the one op that they make up."""
    found: list[Record] = []
    places: dict[Step, int] = {}
    for fused, group in groupby(trace.steps, key=lambda step: step.fused or step.number):
        steps = list(group)
        last, is_one = steps[-1], len(steps) == 1
        made_before = [source for step in steps for source in step.inputs if source is not None and source in places]
        parts = {last.argument(i): to_host(part) for i, part in last.parts.items()} if last.op and is_one else {}
        label = fused[0] if isinstance(fused, tuple) else last.label
        found.append(Record(label, last.module, tuple(sorted({places[source] for source in made_before})),
                            to_host(last.value), None if last.grad is None else to_host(last.grad), parts))
        places |= dict.fromkeys(steps, len(found) - 1)
    return found


def layers(run: Sequence[Record], others: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """What two runs of other ops have in common: parameters, the results of layers, and the loss.

    Args:
        run: all records of a run; the last record of a module is the result of that layer.
        others: labelled with the names of parameters and modules, and "loss".

    Returns:
        The common records of both; a layer that one run computes at some positions only is left out.
    """
    last = {record.module or record.label: record for record in run} | {"loss": run[-1]}
    common = [other for other in others if other.label in last and last[other.label].value.shape == other.value.shape]
    return [Record(o.label, "", (), last[o.label].value, last[o.label].grad) for o in common], common


def limit_for(*runs: Sequence[Record]) -> float:
    """The limit for rounding of the least exact dtype in some runs."""
    dtypes = {str(run[-1].value.dtype) for run in runs}
    return max(LIMITS.get(dtype, LIMITS["float16"]) for dtype in dtypes)


def compare(a: Sequence[Record], b: Sequence[Record], limit: float) -> Comparison:
    """Compare two runs of one computation, step by step.

    Args:
        a, b: from `records`; of the same ops in the same order.
        limit: of the relative differences, as from `limit_for`.

    Raises:
        UsageError: "the runs differ (step 61): one calls linear (9, 768), the other matmul (9, 768); …".
    """
    for number, (one, other) in enumerate(zip(a, b, strict=False)):
        if (one.label, one.value.shape) != (other.label, other.value.shape):
            raise UsageError(f"the runs differ (step {number}): one calls {one.label} {one.value.shape}, the other "
                             f"{other.label} {other.value.shape}; compare runs of one model on one text")
    if len(a) != len(b):
        raise UsageError(f"the runs differ (steps): one has {len(a)}, the other {len(b)}; compare runs of one model "
                         "on one text")
    sizes = [float(np.abs(r.grad).max()) for r in b if r.grad is not None and r.grad.size]
    floor = 1e-3 * float(np.median(sizes)) if sizes else 0.0  # a gradient that is zero but for rounding
    pairs = enumerate(zip(a, b, strict=True))
    return Comparison(tuple(_row(number, one, other, floor) for number, (one, other) in pairs), limit)


def _row(number: int, one: Record, other: Record, floor: float) -> Row:
    parts = {name: _difference(part, other.parts[name], floor) for name, part in one.parts.items()
             if name in other.parts}
    return Row(number, one.label, one.module, one.inputs, _difference(one.value, other.value, 0.0),
               _difference(one.grad, other.grad, floor), parts)


def _difference(a, b, floor: float) -> float:
    """The largest difference, relative to the largest modulus, or to ``floor`` where that is larger."""
    if a is None or b is None:
        return 0.0 if a is b else np.inf
    if not a.size:
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    gap = np.where(same, 0.0, np.abs(a - b)).max()
    scale = max(float(np.abs(b[np.isfinite(b)]).max(initial=0.0)), floor)
    return float(gap / scale) if np.isfinite(gap) and scale else np.inf
