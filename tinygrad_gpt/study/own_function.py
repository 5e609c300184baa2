"""A function or an op in a file of one's own, to be checked by name."""

import difflib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.engine import OPS, Op, Tensor, using_ops
from tinygrad_gpt.errors import TapeError, UsageError
from tinygrad_gpt.study.calls import Call, error, is_float, samples
from tinygrad_gpt.study.entries import EntryCheck, gradcheck
from tinygrad_gpt.study.gradcheck import LIMIT
from tinygrad_gpt.study.sweep import CHECKS, Finding, check

__all__ = ["OpCheck", "check_own_function"]

LARGEST = 10_000  # entries; each takes two calls or more
AGREE = 1e-10  # relative difference of two forms: sums in another order make 1e-15


@dataclass(frozen=True)
class OpCheck(EntryCheck):
    """What is wrong with an op: the entries of its gradients on its first sample, and the findings of the sweep.

    Args:
        findings: from `sweep.check`, of each form, and of forms that differ from the plain one; the entries, of the
            plain form, are empty if not all arguments are floats.
        forms: that were checked, "plain" first.
    """

    findings: tuple[Finding, ...]
    forms: tuple[str, ...] = ("plain",)

    def __bool__(self):
        return super().__bool__() and not self.findings

    def __str__(self):
        entries = [super().__str__(), ""] if self.entries else []
        done = sum(form != "composed" for form in self.forms) * len(CHECKS) + len(self.forms) - 1
        verdict = f"{len(self.findings)} of {done} checks of the sweep fail" if self.findings else \
            f"all {done} checks of the sweep pass"
        of = f", in the forms {', '.join(self.forms)}" if len(self.forms) > 1 else ""
        return "\n".join([*entries, verdict + of, *(f"  {finding}" for finding in self.findings)])


def check_own_function(place: str, shapes: Sequence[tuple[int, ...]] = (), seed: int = 0) -> EntryCheck:
    """Run a Python file and check a function in it, or an op that it registers, which is put through the sweep.

    All forms of the op are swept and compared with the plain one. A composed form is compared only.

    Args:
        place: "FILE:NAME". The file is run as any Python program is.
        shapes: of the arguments, which are drawn from a standard normal; for those that are not given (2, 3).
        seed: of the arguments.

    Raises:
        UsageError: "no such function (my.py:sqare): the file has square"; too many shapes, or too many entries.
        TapeError: the file or the function fails, or the function returns no Tensor.
    """
    path, name = place.rsplit(":", 1)
    function = _function(Path(path), name)
    if isinstance(function, Op):
        return _checked_op(function, seed)
    return gradcheck(_reporting(function, place), *_arguments(function, place, shapes, seed))


def _checked_op(op: Op, seed: int) -> OpCheck:
    forms = (*op.available(get_backend("numpy")), *(["composed"] if op.composed else []))
    findings = [finding for form in forms for finding in _findings(op, form, seed, len(forms) > 1)]
    with using_ops("plain"):
        arguments, settings = samples(op, seed)[0]
        if not all(map(is_float, arguments)) or op(*_leaves(arguments), **settings).node is None:  # no pullback at all
            return OpCheck((), LIMIT, tuple(findings), forms)
        entries = gradcheck(lambda *tensors: op(*tensors, **settings), *arguments)
    return OpCheck(entries.entries, entries.limit, tuple(findings), forms)


def _findings(op: Op, form: str, seed: int, named: bool) -> list[Finding]:
    """What is wrong with one form of an op; ``named`` says which form it is of."""
    found = []
    if form != "composed":  # its ops have been swept
        with using_ops(form):
            found = check(op, seed)
    if form != "plain":
        found += _differences(op, form, seed)
    return [replace(each, text=f"{form} form: {each.text}") for each in found] if named else found


def _differences(op: Op, form: str, seed: int) -> list[Finding]:
    """The first sample on which a form differs from the plain one."""
    for number, sample in enumerate(samples(op, seed)):
        try:
            with using_ops("plain"):
                plain = Call(op, *sample)
        except Exception:  # the sweep of the plain form has found it
            return []
        try:
            with using_ops(form):
                text = _difference(Call(op, *sample), plain)
        except Exception as failure:  # of the form's own code: whatever it raises is a finding
            text = f"raises {type(failure).__name__}: {failure}"
        if text:
            return [Finding("forms_agree", number, text)]
    return []


def _difference(other: Call, plain: Call) -> str | None:
    names = ["the result", *(f"the gradient of '{plain.op.argument(i)}'" for i in range(len(plain.grads)))]
    for name, a, b in zip(names, (other.result, *other.grads), (plain.result, *plain.grads), strict=True):
        if a is None and b is None:
            continue
        if a is None or b is None:
            return f"{name} is missing in {'it' if a is None else 'the plain form'}"
        if not (gap := error(a.numpy(), b.numpy())) <= AGREE:
            return f"{name} is not that of the plain form: relative difference {gap:.1e}"
    return None


def _leaves(arguments) -> list[Tensor]:
    return [Tensor(a, requires_grad=True) for a in arguments]


def _function(path: Path, name: str) -> Callable:
    if not path.is_file():
        raise UsageError(f"no such file ({path}): give FILE:NAME, the path of a Python file and a function in it")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"cannot read ({path}): its name does not end in .py; rename it")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise TapeError(f"cannot run ({path}): {type(error).__name__}: {error}; mend the file") from error
    found = {key: value for key, value in vars(module).items() if not key.startswith("_")
             and (isinstance(value, Op) or (inspect.isfunction(value) and value.__module__ == path.stem))}
    if name not in found:
        near = difflib.get_close_matches(name, found, cutoff=0.4) or list(found)
        raise UsageError(f"no such function ({path}:{name}): the file has {', '.join(near) or 'no function'}")
    return _of_op(name, found[name], str(path)) or found[name]


def _of_op(name: str, value: Callable, path: str) -> Op | None:
    """The op that a name in a file stands for: one that the file registers under it, or one of which it is a form."""
    for op in OPS.values():
        forms = [op.composed, *(form.function for form in (op.plain, op.fast, op.compiled, op.cuda) if form)]
        if value is op or value in forms or (op.function.__name__, op.function.__code__.co_filename) == (name, path):
            return op
    return None


def _reporting(function: Callable, place: str) -> Callable:
    """The function, with an error of its own turned into one of ours."""
    def call(*tensors):
        try:
            return function(*tensors)
        except Exception as error:
            raise TapeError(f"cannot check ({place}): {type(error).__name__}: {error}; mend the function, or give "
                            "arguments of other shapes with --shape") from error
    return call


def _arguments(function, place, shapes, seed) -> list[np.ndarray]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    needed = sum(p.default is inspect.Parameter.empty for p in parameters)
    if len(shapes) > len(parameters):
        raise UsageError(f"--shape ({place}): {len(shapes)} shapes, but the function takes {len(parameters)} arguments")
    shapes = [*shapes, *[(2, 3)] * (max(needed, 1) - len(shapes))]
    if (count := sum(int(np.prod(shape)) for shape in shapes)) > LARGEST:
        raise UsageError(f"--shape ({place}): {count:,} entries, at most {LARGEST:,} are checked; use smaller shapes")
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape) for shape in shapes]
