"""A trace: every value of one computation, and every gradient that flows back through it.

Recording a tape keeps what the pullbacks need. A trace keeps everything: what each op was given, what it returned, the
gradient of its result, and the gradient that it sends to each argument. The ledger, the explanation of one number, the
comparison of two runs and the page of a step are made from it.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tinygrad_gpt.backend import Array
from tinygrad_gpt.engine.guards import captured
from tinygrad_gpt.engine.mode import observing, switched
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.pending import Pending, dense
from tinygrad_gpt.engine.registry import Op
from tinygrad_gpt.engine.tape import Node, walk
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study.show import place

__all__ = ["Step", "Trace", "caller", "record"]

PACKAGE = Path(__file__).resolve().parents[1]
ENGINE = tuple(str(PACKAGE / name) for name in ("engine", "ops", "study"))


@dataclass(eq=False, repr=False)
class Step:
    """One step of a computation: the call of an op, or a leaf.

    Args:
        number: its place in the order of the computation, from 0.
        label: name of the op, or of the parameter; "leaf" for one without a name.
        op: the op; None for a leaf.
        value: its result.
        inputs: for each argument of the op the step that made it, None for what is not on the tape.
        arguments: the arrays, numbers and lists that the op was called with.
        settings: of the call.
        pullbacks: file:line of each argument's pullback, in the form that ran; "" where there is none.
        module: dotted name of the innermost module that called the op; "" outside a module.
        line: file:line of the call.
        grad: the gradient of the loss with respect to the value; None where none flowed.
        parts: the gradient that the op sent to each argument, by the argument's number.
        seconds: since the step before it ended, on the way forward, and of the pullbacks.
        fused: name and number of the call of the fused op that this op is a part of, in its composed form.
        calls: file:line of functions outside this package that its pullbacks call, such as one's own gelu in
            `bias_gelu`; empty where the pullbacks are not of this package either.
    """

    number: int
    label: str
    op: Any
    value: Array
    inputs: "tuple[Step | None, ...]" = ()
    arguments: tuple = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    pullbacks: tuple[str, ...] = ()
    module: str = ""
    line: str = ""
    grad: Array | None = None
    parts: dict[int, Array] = field(default_factory=dict)
    seconds: tuple[float, float] = (0.0, 0.0)
    fused: tuple[str, int] | None = None
    calls: tuple[str, ...] = ()

    def argument(self, i: int) -> str:
        """Name of the i-th argument."""
        return self.op.argument(i)

    def __repr__(self):
        return f"<step {self.number} {self.label} {self.value.shape}>"


@dataclass(frozen=True)
class Trace:
    """The steps of one computation, in its order; the last one made the result.

    Args:
        steps: all steps that are on the tape, parameters first.
    """

    steps: tuple[Step, ...]

    @property
    def result(self) -> Step:
        """The step that made the result, usually the loss."""
        return self.steps[-1]

    @property
    def ops(self) -> list[Step]:
        """The steps that are calls of ops."""
        return [step for step in self.steps if step.op is not None]

    def leaf(self, name: str) -> Step:
        """The step of a parameter."""
        return next(step for step in self.steps if step.op is None and step.label == name)


def record(compute: Callable[[], Tensor], parameters: Iterable[tuple[str, Tensor]] = (),
           modules: Iterable[tuple[str, object]] = ()) -> Trace:
    """Run a computation and its backward pass, and keep every value and every gradient. No tensor's ``grad`` changes.

    Args:
        compute: returns a tensor of one value, usually the loss.
        parameters: ``model.named_parameters()``, so that leaves have names.
        modules: ``model.named_modules()``, so that steps know the module that they belong to.

    Raises:
        TapeError: "record: the result is on no tape…"; the result has several values.

    Example:
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> trace = record(lambda: (x * x).sum(), [("x", x)])
        >>> [(step.label, step.grad.tolist()) for step in trace.steps]
        [('x', [2.0, 4.0]), ('mul', [1.0, 1.0]), ('sum', 1.0)]
    """
    recorder = _Recorder(parameters, modules)
    result = recorder.run(compute)
    pending = Pending([(result.node, result.as_cotangent(None, "record").data)])
    recorder.clock = time.perf_counter()
    for node, g, _ in walk(pending, pull=recorder.backward):
        recorder.steps[node].grad = g
    return recorder.trace(result)


class _Recorder:
    """Makes a step of each op that records a node, and fills in its gradients on the way back."""

    def __init__(self, parameters, modules):
        self.steps: dict[Node, Step] = {}
        self.modules = {id(module): name or type(module).__name__ for name, module in modules}
        for name, tensor in parameters:
            if tensor.node is not None:
                self._add(tensor.node, name, None, tensor.data)
        self.clock = time.perf_counter()
        self.call: FrameType | None = None
        self.calls = 0

    def _add(self, node, label, op, value, **more) -> Step:
        step = self.steps[node] = Step(len(self.steps), label, op, value, **more)
        return step

    def _step_of(self, a) -> Step | None:
        node = a.node if isinstance(a, Tensor) else None
        if node is None:
            return None
        return self.steps.get(node) or self._add(node, "leaf", None, a.data)

    def run(self, compute) -> Tensor:
        """Run a computation, which makes the steps; returns its result."""
        with switched(recording=True), observing(self.forward):
            result = compute()
        if not isinstance(result, Tensor) or result.node is None:
            raise TapeError("record: the result is on no tape; return a tensor computed from one with "
                            "requires_grad=True")
        return result

    def trace(self, result: Tensor) -> Trace:
        """The steps up to the one that made the result."""
        last = self.steps[result.node].number  # type: ignore[index]
        return Trace(tuple(step for step in self.steps.values() if step.number <= last))

    def forward(self, op, args, result):
        """Called after each op."""
        node = result.node
        if node is None:
            return
        inputs = tuple(self._step_of(a) for a in args)
        module, line = caller(self.modules)
        now = time.perf_counter()
        self._add(node, op.name, op, result.data, inputs=inputs, arguments=tuple(map(raw, args)),
                  settings=node.settings, pullbacks=_places(node), module=module, line=line,
                  seconds=(now - self.clock, 0.0), fused=self._fused(), calls=_calls(node))
        self.clock = time.perf_counter()

    def _fused(self) -> tuple[str, int] | None:
        """The outermost op whose composed form is running, and a number for its call."""
        frame: FrameType | None = sys._getframe(3)  # above the call of this op
        outermost = None
        while frame and frame.f_code.co_filename.startswith(ENGINE[:2]):
            if frame.f_code is Op.__call__.__code__:
                outermost = frame
            frame = frame.f_back
        if outermost is None:
            return None
        if outermost is not self.call:  # it is kept, so that no other frame takes its place in memory
            self.call, self.calls = outermost, self.calls + 1
        return outermost.f_locals["self"].name, self.calls

    def backward(self, node, g):
        """In place of `Node.pull`."""
        step, start = self.steps[node], time.perf_counter()
        pairs = node.pull(g)
        step.seconds = (step.seconds[0], time.perf_counter() - start)
        step.grad = g
        asked = iter(i for i, source in enumerate(node.inputs) if source is not None)
        kept = []
        for source, part in pairs:
            i = next(i for i in asked if node.inputs[i] is source)
            step.parts[i] = dense(part)
            kept.append((source, step.parts[i].view()))  # a view: the walk adds to no array that it does not own
        return kept


def _places(node: Node) -> tuple[str, ...]:
    """file:line of the pullback of each argument of a node."""
    if callable(node.pullbacks):
        return (place(node.pullbacks),) * len(node.inputs)
    return tuple(place(pullback) if pullback else "" for pullback in node.pullbacks or ())


def _calls(node: Node) -> tuple[str, ...]:
    """file:line of the functions outside this package that pullbacks of this package captured."""
    pullbacks = [node.pullbacks] if callable(node.pullbacks) else [each for each in node.pullbacks or () if each]
    inside = [each for each in pullbacks if _is_inside(each)]
    values = (value for _, value in captured(inside) if hasattr(value, "__code__") and not _is_inside(value))
    return tuple(dict.fromkeys(map(place, values)))


def _is_inside(function: Callable) -> bool:
    return Path(function.__code__.co_filename).is_relative_to(PACKAGE)


def caller(modules: Mapping[int, str], depth: int = 2) -> tuple[str, str]:
    """The innermost module at work, and file:line of the call of an op; for an observer of ops.

    Args:
        modules: names by the ``id`` of each module.
        depth: how many frames up the search begins.
    """
    line, module = "", ""
    frame: FrameType | None = sys._getframe(depth)
    while frame and not module:
        if not line and not frame.f_code.co_filename.startswith(ENGINE):
            line = _line(frame)
        module = modules.get(id(frame.f_locals.get("self")), "")
        frame = frame.f_back
    return module, line


def _line(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    name = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else path.name
    return f"{name}:{frame.f_lineno}"
