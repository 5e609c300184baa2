"""A function or an op in a file of one's own, to be checked by name."""

import difflib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt.engine import Op, Tensor
from tinygrad_gpt.errors import TapeError, UsageError
from tinygrad_gpt.study.calls import is_float, samples
from tinygrad_gpt.study.entries import EntryCheck, gradcheck
from tinygrad_gpt.study.gradcheck import LIMIT
from tinygrad_gpt.study.sweep import CHECKS, Finding, check

__all__ = ["OpCheck", "check_own_function"]

LARGEST = 10_000  # entries; each takes two calls


@dataclass(frozen=True)
class OpCheck(EntryCheck):
    """What is wrong with an op: the entries of its gradients on its first sample, and the findings of the sweep.

    Args:
        findings: from `sweep.check`; the entries are empty if not all arguments are floats.
    """

    findings: tuple[Finding, ...]

    def __bool__(self):
        return super().__bool__() and not self.findings

    def __str__(self):
        entries = [super().__str__(), ""] if self.entries else []
        verdict = f"{len(self.findings)} of {len(CHECKS)} checks of the sweep fail" if self.findings else \
            f"all {len(CHECKS)} checks of the sweep pass"
        return "\n".join([*entries, verdict, *(f"  {finding}" for finding in self.findings)])


def check_own_function(place: str, shapes: Sequence[tuple[int, ...]] = (), seed: int = 0) -> EntryCheck:
    """Run a Python file and check a function in it, or an op that it registers, which is put through the sweep.

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
    arguments, settings = samples(op, seed)[0]
    if not all(map(is_float, arguments)) or op(*_leaves(arguments), **settings).node is None:  # no pullback at all
        return OpCheck((), LIMIT, tuple(check(op, seed)))
    entries = gradcheck(lambda *tensors: op(*tensors, **settings), *arguments)
    return OpCheck(entries.entries, entries.limit, tuple(check(op, seed)))


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
    return found[name]


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
