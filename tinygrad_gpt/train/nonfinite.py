"""Find the op that made the first value that is not a finite number."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tinygrad_gpt.backend import Array, backend_of, is_integer, to_host
from tinygrad_gpt.engine.mode import observing
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.pending import dense
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn import Module
from tinygrad_gpt.nn.utils import grad_norm
from tinygrad_gpt.study.trace import caller

__all__ = ["find_non_finite", "first_fault"]

PASSING = "the step, run again, is finite: the fault was a passing one, of the memory or the processor perhaps"


def find_non_finite(losses: Sequence[Callable[[], Tensor]], parameters: Sequence[Tensor], model: Module | None) -> str:
    """Run a step that was not finite again, look at every value, and say where the first bad one came from.

    Args:
        losses, parameters: of the step, as in `train_step`; the gradients are overwritten.
        model: the names of its layers and parameters are used; None leaves them out.

    Returns:
        One clause: direction, op, module, source line and data rows, as far as they can be told.
    """
    names = {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter in parameters:
        parameter.zero_grad()
    for number, compute in enumerate(losses, start=1):
        try:
            with np.errstate(all="ignore"), observing(_Search(model, names)):
                loss = compute() * (1 / len(losses))
                if loss.requires_grad:  # that of no rows does not
                    loss.backward()
        except _FoundError as found:
            return f"{found} of micro-batch {number}" if len(losses) > 1 and found.rows else str(found)
    return _in_sums(parameters, names)


def first_fault(found: Sequence[str]) -> str:
    """Of what `find_non_finite` says in each process, the first that names a fault."""
    return next((clause for clause in found if clause != PASSING), PASSING)


def _in_sums(parameters, names) -> str:
    """The clause when no op gave a bad value: the sum over micro-batches or the norm overflowed, or all is well."""
    with np.errstate(all="ignore"):
        largest = {i: float(abs(p.grad.data).max()) for i, p in enumerate(parameters) if p.grad is not None and p.size}
        norm = grad_norm(parameters)
    if np.isfinite(norm):
        return PASSING
    worst = max(largest, key=lambda i: largest[i] if np.isfinite(largest[i]) else np.inf)
    name = names.get(id(parameters[worst]), f"parameter {worst + 1}")
    what = "the sum of their squares overflows" if np.isfinite(largest[worst]) else "the micro-batches' sum is not"
    return f"backward, the gradients of each op are finite, but {what}; the largest is {largest[worst]:.3g}, of {name}"


class _FoundError(Exception):
    """The search is over."""

    def __init__(self, text, rows):
        super().__init__(text + rows)
        self.rows = rows


class _Search:
    """Looks at the result of each op, and at each gradient that its pullbacks return."""

    def __init__(self, model, names):
        modules = () if model is None else model.named_modules()
        self.modules = {id(module): name or type(module).__name__ for name, module in modules}
        self.names = names
        self.batch = 0  # rows of data, once they have been seen
        self.constants: dict[int, Tensor] = {}  # made of parameters alone, whose first axis is no data

    def __call__(self, op, args, result):
        from_data = [self._is_data(a) for a in args]
        if not any(from_data):
            self.constants[id(result)] = result
        elif not self.batch:
            self.batch = args[from_data.index(True)].shape[0]
        call = f"op '{op.name}'{self._place()}"
        if not _finite(result.data):
            raise _FoundError(f"forward, {call} is the first to give {_kind(result.data)}{self._causes(op, args)}",
                              self._rows(result.data) if any(from_data) else "")
        if result.node is not None:
            self._watch_pullbacks(op, result.node, call, from_data)

    def _is_data(self, a) -> bool:
        """Whether it is an array that is neither a parameter nor made of parameters alone."""
        leaf = isinstance(a, Tensor) and ((a.is_leaf and a.requires_grad) or id(a) in self.names)
        return bool(getattr(a, "shape", ())) and not leaf and id(a) not in self.constants

    def _watch_pullbacks(self, op, node, call, from_data):
        def check(g, what, rows):
            if g is not None and not _finite(g):
                raise _FoundError(f"backward, {what} of {call} is the first to be {_kind(g)}",
                                  self._rows(g) if rows else "")
            return g

        def check_sum(g):
            return check(g, "the sum of the gradients of the result", any(from_data))

        def check_argument(i, g):
            return check(dense(g), f"the gradient of '{op.argument(i)}'", from_data[i])

        def watched(i, pullback):
            return lambda g: check_argument(i, pullback(check_sum(g)))

        joint = node.pullbacks
        if callable(joint):
            node.pullbacks = lambda g: [check_argument(i, grad) for i, grad in enumerate(joint(check_sum(g)))]
        else:
            node.pullbacks = [pullback and watched(i, pullback) for i, pullback in enumerate(joint)]

    def _place(self) -> str:
        """The innermost module at work, and the line that calls the op."""
        module, line = caller(self.modules, depth=3)
        return f"{module and f' in {module}'} ({line})"

    def _causes(self, op, args) -> str:
        """The arguments that were not finite before."""
        bad = [f"{self.names.get(id(a), op.argument(i))} holds {_kind(raw(a))}" for i, a in enumerate(args)
               if hasattr(a, "dtype") and not _finite(raw(a))]
        return f", because {' and '.join(bad)}" if bad else ""

    def _rows(self, array) -> str:
        """The rows of the batch in which it is not finite; the batch is the first axis, alone or with others."""
        if not self.batch or array.shape[0] % self.batch:
            return ""
        rows = np.isfinite(to_host(array)).reshape(self.batch, -1).all(axis=1)
        return f", in data rows {_ranges(np.flatnonzero(~rows) + 1)} of {self.batch}"


def _finite(array: Array) -> bool:
    return is_integer(array.dtype) or bool(backend_of(array).xp.isfinite(array).all())


def _kind(array: Array) -> str:
    values = to_host(array)
    return "nan" if np.isnan(values).any() else "inf"


def _ranges(numbers: Iterable[int]) -> str:
    """1, 2, 3, 7 -> "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
