"""Marks for one exercise: the sweep on the student's function, then a diagnosis in words. No solution is needed."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt.course.blanks import blank_text, load
from tinygrad_gpt.course.exercises import Exercise
from tinygrad_gpt.course.layers import HIDDEN, said_of_layer
from tinygrad_gpt.course.sandbox import Sandbox
from tinygrad_gpt.engine import Op, using_ops
from tinygrad_gpt.engine.forms import Form
from tinygrad_gpt.study.calls import samples
from tinygrad_gpt.study.cases import XP, Rule, RuleError, answer
from tinygrad_gpt.study.diagnose import DIFFERENCE, Diagnosis, diagnose
from tinygrad_gpt.study.gradcheck import Draw, split_sample
from tinygrad_gpt.study.sweep import CHECKS, Finding, check

__all__ = ["SEEDS", "Grade", "faults", "grade", "judged", "judged_layer", "samples_of"]

SMALL = 200  # entries of all arguments of a sample
SEEDS = (1, 2)  # of the draws; on one alone a mask may hide a mistake
SQUARE: dict[str, Callable] = {  # samples on which a forgotten transpose does not fail
    "linear": lambda r: [(r.normal(3, 3), r.normal(3, 3), r.normal(3))],
    "matmul": lambda r: [(r.normal(3, 3), r.normal(3, 3))],
    "attention": lambda r: [tuple(r.normal(1, 1, 3, 3) for _ in "qkv")],
}
SHARED = [name for name in CHECKS if name != "special_points"]  # those values are of the op itself
FINDINGS = 3  # that are shown


@dataclass(frozen=True)
class Grade:
    """What a student gets for one exercise.

    Args:
        name: of the exercise.
        points, most: given, and possible: all or none.
        said: why not all, one line each; the diagnosis first.
        printed: what the student's code printed.
        seconds: that grading took.
    """

    name: str
    points: int
    most: int
    said: tuple[str, ...]
    printed: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all points are given."""
        return self.points == self.most


def grade(each: Exercise, path: Path, blank: str | None = None) -> Grade:
    """Grade a student's file.

    Args:
        each: the exercise.
        path: the file; where there is none, or the code is stopped, there are no points.
        blank: the text that the student started with, which has the forward pass; None: that of the exercise.
    """
    start, printed = time.perf_counter(), ""
    if not path.is_file():
        said = [f"there is no file {path.name}: `course start` writes it again"]
    else:
        with Sandbox(path, each.name, HIDDEN[each.name] if each.is_layer else None) as sandbox:
            said = _judged(each, sandbox, blank or blank_text(each))
            said = [sandbox.stopped] if sandbox.stopped else said
            printed = sandbox.printed
    return Grade(each.name, 0 if said else each.points, each.points, tuple(said), printed,
                 time.perf_counter() - start)


def _judged(each: Exercise, sandbox: Sandbox, blank: str) -> list[str]:
    """What is wrong with the file that a sandbox runs."""
    try:
        sandbox.loaded()
        if each.is_layer:
            return judged_layer(each, sandbox.layer())
        forward = load(blank, each.name, each.file)
        return judged(each, sandbox.rule(forward), forward, checks=SHARED if blank != blank_text(each) else None)
    except RuleError as error:
        return [str(error)]


def judged(each: Exercise, rule: Rule, forward: Rule, broadcasts: bool | None = None,
           checks: Sequence[str] | None = None) -> list[str]:
    """What is wrong with a rule, in words; empty for a right one.

    Args:
        rule: the function with the student's pullbacks.
        forward: the function that the exercise gives.
        broadcasts: whether the engine sums gradients down; None: as for the op.
        checks: of the sweep; None for all.
    """
    broadcasts = each.op.broadcasts if broadcasts is None else broadcasts
    try:
        _called_once(each, rule)
    except NotImplementedError:
        return ["not written yet"]
    except Exception as error:
        text = str(error) if isinstance(error, RuleError) else f"raises {type(error).__name__}: {error}"
        if not text.startswith("raises "):
            return [text]
        causes = diagnose(rule, forward, samples_of(each.op), SEEDS[0], broadcasts)
        return _raised(each, rule, forward, causes) or [text]
    found = faults(each, rule, broadcasts, checks)
    if not found:
        return []
    causes = diagnose(rule, forward, samples_of(each.op), SEEDS[0], broadcasts)
    if causes and all(cause.kind == "raises" for cause in causes):
        return _raised(each, rule, forward, causes)
    said = [str(cause) for cause in causes] or [str(finding) for finding in _different(found)[:FINDINGS]]
    return list(dict.fromkeys(said))


def _different(found: Sequence[Finding]) -> list[Finding]:
    """The findings of different texts: two checks may see one fault."""
    return list({finding.text: finding for finding in reversed(found)}.values())[::-1]


def _raised(each: Exercise, rule: Rule, forward: Rule, causes: Sequence[Diagnosis]) -> list[str]:
    """What is said of a rule that fails: its mistake, if it runs on square matrices, and the error with the shapes."""
    errors = [str(cause) for cause in causes if cause.kind == "raises"]
    return [*_where_shapes_fit(each, rule, forward), *errors[:1]]


def _where_shapes_fit(each: Exercise, rule: Rule, forward: Rule) -> list[str]:
    """What is wrong with a rule that fails on matrices, found on square ones; empty where it fails on those, too."""
    if each.name not in SQUARE:
        return []
    causes = diagnose(rule, forward, SQUARE[each.name], SEEDS[0], each.op.broadcasts)
    if len(causes) == 1 and causes[0].kind == DIFFERENCE:
        return [f"gradient of '{causes[0].argument}': the only one that is wrong where all matrices are square"]
    return [str(cause) for cause in causes if cause.kind not in ("raises", DIFFERENCE)]


def judged_layer(each: Exercise, rule: Callable) -> list[str]:
    """What is wrong with a layer, in words: in float64, in float32, and with another layout of memory."""
    for seed in SEEDS:
        for arrays, _ in samples(each.op, seed):
            for kind in (np.ascontiguousarray, np.asfortranarray, np.float32):
                said = said_of_layer(each.name, rule, tuple(kind(a) for a in arrays))
                if said:
                    return [said]
    return []


def faults(each: Exercise, rule: Rule, broadcasts: bool, checks: Sequence[str] | None = None) -> list[Finding]:
    """What the sweep finds on the small samples of an exercise, on the first draw on which it finds something."""
    op = _op(each, rule, broadcasts)
    with using_ops("plain"):
        return next(filter(None, (check(op, seed, checks) for seed in SEEDS)), [])


def _called_once(each: Exercise, rule: Rule) -> None:
    """What is wrong whatever the numbers are.

    Raises:
        RuleError: the function fails, is not written yet, or returns something else than gradients.
    """
    arguments, settings = samples(each.op)[0]
    y = rule(XP, *arguments, **settings)[0]
    answer(rule, arguments, settings, Draw(1).normal(*y.shape))


def _op(each: Exercise, rule: Rule, broadcasts: bool) -> Op:
    """The op of the exercise with the student's function, on its small samples."""
    op = copy.copy(each.op)
    op.plain, op.fast, op.cuda, op.composed = Form(rule), None, None, None  # type: ignore[method-assign]
    op.samples, op.broadcasts = samples_of(each.op), broadcasts
    return op


def samples_of(op: Op) -> Callable[[Draw], list[tuple]]:
    """The small ones of an op's samples, as a function of a draw."""
    def small(draw):
        return [sample for sample in op.samples(draw)
                if sum(getattr(a, "size", 1) for a in split_sample(sample)[0]) <= SMALL]

    return small
