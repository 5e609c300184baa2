"""Why one number of a gradient is what it is: through which ops it flows, and what each of them contributes.

Move one entry of a parameter at unit speed. Each value y of the computation then moves with its tangent ẏ = ∂y/∂p, and
⟨ȳ, ẏ⟩ is what the loss changes through y. At the loss this is the whole derivative. What flows into an op comes out of
it (see `ledger.py`), so along every cut through the graph the flows add up to the derivative: each edge has a share.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import to_host
from tinygrad_gpt.engine.mode import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.study.derivatives import derivative
from tinygrad_gpt.study.gradcheck import relative_difference
from tinygrad_gpt.study.ledger import arguments_moved, tangents
from tinygrad_gpt.study.trace import Step, Trace
from tinygrad_gpt.terminal import Printed, aligned

__all__ = ["Explanation", "Flow", "OpShare", "Term", "explain", "find_entry", "numeric_derivative"]

TERMS = 5  # the largest products shown of each op


@dataclass(frozen=True)
class Term:
    """One product of the sum ⟨ȳ, ẏ⟩.

    Args:
        index: of the entry of y.
        gradient: ȳ there, how the loss changes with this entry.
        tangent: ẏ there, how this entry changes with the parameter: the local derivative.
    """

    index: tuple[int, ...]
    gradient: float
    tangent: float

    @property
    def product(self) -> float:
        """What the loss changes through this entry."""
        return self.gradient * self.tangent


@dataclass(frozen=True)
class Flow:
    """What flows along one edge of the graph: from the step that made an argument into the op that takes it.

    Args:
        source, step: numbers of the two steps.
        argument: name of the argument.
        amount: ⟨x̄, ẋ⟩, with x̄ the gradient that the op sends to the argument.
    """

    source: int
    step: int
    argument: str
    amount: float


@dataclass(frozen=True)
class OpShare:
    """One op through which the derivative flows.

    Args:
        number, op, module: of the step.
        shape: of its result.
        amount: ⟨ȳ, ẏ⟩.
        terms: its largest products.
        gradient: the op's rule, as its docstring gives it.
        pullbacks: file:line of the pullbacks of the arguments that carry the flow.
    """

    number: int
    op: str
    module: str
    shape: tuple[int, ...]
    amount: float
    terms: tuple[Term, ...]
    gradient: str
    pullbacks: tuple[str, ...]


@dataclass(frozen=True)
class Explanation(Printed):
    """Why one entry of a parameter's gradient is what it is.

    Args:
        parameter, index: which entry.
        number: of the parameter's step.
        value: of the entry itself.
        analytic: its gradient, by the backward pass.
        numeric: the same by central differences of the loss.
        torch: the same by PyTorch; None where it was not asked.
        ops: the ops through which it flows, in the order of the computation.
        flows: the edges between them.
        tokens: the text that was read, a string a position; for the printed table.
    """

    parameter: str
    index: tuple[int, ...]
    number: int
    value: float
    analytic: float
    numeric: float
    torch: float | None
    ops: tuple[OpShare, ...]
    flows: tuple[Flow, ...]
    tokens: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """Difference of the analytic and the numeric derivative over the larger of the two."""
        return relative_difference(self.analytic, self.numeric)

    def share(self, amount: float) -> float:
        """A flow as a share of the derivative; 0 where the derivative is 0."""
        return amount / self.analytic if self.analytic else 0.0

    def cut(self, number: int) -> float:
        """The sum of all flows from steps up to ``number`` into later ones: the derivative, wherever the cut is."""
        return sum(flow.amount for flow in self.flows if flow.source <= number < flow.step)

    def __str__(self):
        return "\n".join([*self._head(), "", *self._entries(), "", *self._table()])

    def _head(self):
        by_torch = [] if self.torch is None else [f"  by PyTorch             {self.torch:+.12g}"]
        return [f"∂loss/∂{self.parameter}{list(self.index)} = {self.analytic:+.12g}   (the entry is {self.value:+.6g})",
                f"  by central differences {self.numeric:+.12g}   (relative difference {self.error:.1e})", *by_torch]

    def _entries(self):
        """Where the parameter enters, with the numbers put in."""
        lines = []
        for flow in self.flows:
            if flow.source == self.number:
                op = next(op for op in self.ops if op.number == flow.step)
                lines += [f"It enters step {op.number}, {op.op}, as {flow.argument}"
                          f"{f' in {op.module}' if op.module else ''} ({' '.join(op.pullbacks)})",
                          *(f"    {line}" for line in op.gradient.splitlines()),
                          f"  {flow.amount:+.9g} = Σ ȳ · ∂y/∂p; the largest terms:",
                          *(f"    {line}" for line in self._terms(op))]
        return lines

    def _terms(self, op: OpShare):
        rows = [(f"y{list(term.index)}", self._word(op, term), f"{term.gradient:+.6g}", f"· {term.tangent:+.6g}",
                 f"= {term.product:+.6g}", f"{self.share(term.product):.1%}") for term in op.terms]
        return aligned(rows, "<<>>>>")

    def _word(self, op, term) -> str:
        """The token at the position of a term, if the axis before the last is that of the text."""
        at_text = len(op.shape) > 1 and op.shape[-2] == len(self.tokens)
        return repr(self.tokens[term.index[-2]]) if at_text else ""

    def _table(self):
        rows = [("step", "op", "module", "share", "by argument", "largest ∂y/∂p", "gradient")]
        for op in self.ops:
            inputs = "  ".join(f"{flow.argument} (step {flow.source}) {self.share(flow.amount):.1%}"
                               for flow in self.flows if flow.step == op.number)
            largest = max((abs(term.tangent) for term in op.terms), default=0.0)
            rows.append((str(op.number), op.op, op.module, f"{self.share(op.amount):.1%}", inputs, f"{largest:.3g}",
                         " ".join(op.pullbacks)))
        return aligned(rows, "><<><><")


def find_entry(text: str, parameters: Sequence[tuple[str, Tensor]]) -> tuple[str, tuple[int, ...]]:
    """The parameter and the index that ``h.0.mlp.c_fc.weight[3,7]`` names.

    Raises:
        UsageError: "unknown parameter (h.0.mlp.fc.weight): …; did you mean h.0.mlp.c_fc.weight?"; "index [3,900]
            (h.0.mlp.c_fc.weight): its shape is (192, 768); …".
    """
    match = re.fullmatch(r"\s*(?P<name>[^\[\]]+?)\s*(\[(?P<index>[-0-9,\s]*)\])?\s*", text)
    name = match["name"] if match else text
    shapes = {known: parameter.shape for known, parameter in parameters}
    if name not in shapes:
        near = difflib.get_close_matches(name, shapes, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"one of them is {next(iter(shapes))}"
        raise UsageError(f"unknown parameter ({name}): not one of the model's {len(shapes)}; {hint}")
    shape, given = shapes[name], [part for part in ((match and match["index"]) or "").split(",") if part.strip()]
    try:
        index = tuple(int(part) for part in given)
    except ValueError:
        index = ()
    if len(index) != len(shape) or any(not -n <= i < n for i, n in zip(index, shape, strict=True)):
        raise UsageError(f"index {match['index'] if match and match['index'] else 'missing'} ({name}): its shape is "
                         f"{shape}; give {len(shape)} numbers, such as {name}[{','.join('0' * len(shape))}]")
    return name, tuple(i % n for i, n in zip(index, shape, strict=True))


def numeric_derivative(compute: Callable[[], Tensor], parameter: Tensor, index: tuple[int, ...]) -> float:
    """The derivative of a loss with respect to one entry, by central differences of fourth order; float64 parameters.

    Source: Abramowitz and Stegun 1964, formula 25.3.6.
    """
    data = parameter.data
    width = 1e-3 * max(abs(float(data[index])), 0.1)

    def loss(change: float) -> float:
        moved = data.copy()
        moved[index] += change
        parameter.data = moved
        return float(compute().item())

    try:
        with no_grad():
            return (8 * (loss(width) - loss(-width)) - (loss(2 * width) - loss(-2 * width))) / (12 * width)
    finally:
        parameter.data = data


def explain(trace: Trace, name: str, index: tuple[int, ...], *, numeric: float, torch: float | None = None,
            tokens: tuple[str, ...] = ()) -> Explanation:
    """Follow one entry of a parameter to the loss.

    Args:
        trace: of a step, with parameters in float64.
        name, index: of the entry.
        numeric, torch: the same derivative by differences and by PyTorch.
        tokens: the text, for printing.

    Raises:
        UsageError: "cannot explain (wpe.weight[200,0]): no gradient reaches this parameter…".
    """
    leaf = trace.leaf(name)
    if leaf.grad is None:
        raise UsageError(f"cannot explain ({name}): no gradient reaches this parameter in this step; give another")
    unit = np.zeros(leaf.value.shape)
    unit[index] = 1.0
    moved = tangents(trace, {name: unit})
    shares, flows = [], []
    for step in trace.ops:
        if step.grad is None or moved[step.number] is None:
            continue
        into = {i: _flow(step.parts[i], t) for i, t in arguments_moved(step, moved).items() if i in step.parts}
        shares.append(_op_share(step, moved[step.number], list(into)))
        flows += [Flow(source.number, step.number, step.argument(i), into[i])
                  for i, source in enumerate(step.inputs) if source is not None and i in into]
    return Explanation(name, index, leaf.number, float(leaf.value[index]), float(leaf.grad[index]), numeric, torch,
                       tuple(shares), tuple(flows), tokens)


def _flow(part, tangent) -> float:
    return float((to_host(part) * tangent).sum())


def _op_share(step: Step, tangent, arguments) -> OpShare:
    grad = to_host(step.grad)
    products = grad * tangent
    largest = np.argsort(-np.abs(products), axis=None)[:TERMS]
    indices = [tuple(int(i) for i in np.unravel_index(k, products.shape)) for k in largest]
    terms = tuple(Term(index, float(grad[index]), float(tangent[index])) for index in indices if products[index])
    places = tuple(dict.fromkeys(step.pullbacks[i] for i in arguments))
    return OpShare(step.number, step.label, step.module, step.value.shape, float(products.sum()), terms,
                   derivative(step.op).gradient, places)
