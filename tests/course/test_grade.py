"""Marks: right solutions get all points, however they are written; nothing else does; mistakes are named."""

import re
import warnings
from collections import Counter

import numpy as np
import pytest
import students
from mutants import mutants
from soak import times

from tinygrad_gpt.course import exercises
from tinygrad_gpt.course.blanks import blank_text, load
from tinygrad_gpt.course.exercises import exercise
from tinygrad_gpt.course.grade import SEEDS, faults, grade, judged, samples_of
from tinygrad_gpt.course.solutions import solution, with_pullbacks
from tinygrad_gpt.study.diagnose import DIFFERENCE, diagnose, holds

EXERCISES = [each for each in exercises.EXERCISES if not each.is_layer]
EVERY = times(24, 1)  # one mutant of so many
# Changes of the code that are the same mathematics; test_mutants.py says why of each.
EQUIVALENT = re.compile("pullbacks exchanged|sign: -[12] in|only its shape|POW|swapped: 1 / ")


def judge(each, text):
    """What is said of a text, in this process."""
    with np.errstate(all="ignore"):
        return judged(each, load(text, each.name, "student"), load(blank_text(each), each.name, each.file))


@pytest.mark.parametrize("name", ["matmul", "cross_entropy", "embedding", "attention"])
def test_a_solution_gets_all_points(name, tmp_path):
    each = exercise(name)
    path = tmp_path / each.file
    path.write_text(solution(each), encoding="utf-8")
    result = grade(each, path)
    assert (result.said, result.points, result.passed) == ((), each.points, True)


@pytest.mark.parametrize("name", ["gelu", "attention"])
def test_untouched_and_zeros_get_none(name, tmp_path):
    each = exercise(name)
    path = tmp_path / each.file
    for text, said in ((blank_text(each), "not written yet"), (students.zeros(each), "all zeros")):
        path.write_text(text, encoding="utf-8")
        result = grade(each, path)
        assert (result.points, result.passed) == (0, False)
        assert said in result.said[0]


@pytest.mark.parametrize("each", EXERCISES, ids=lambda each: each.name)
def test_in_every_exercise_a_solution_is_right_and_untouched_and_zeros_are_wrong(each):
    assert judge(each, solution(each)) == []
    assert judge(each, blank_text(each)) == ["not written yet"]
    assert "all zeros" in judge(each, students.zeros(each))[0]


@pytest.mark.parametrize("name", students.IN_ANOTHER_WAY)
def test_a_gradient_that_is_written_in_another_way_is_right(name):
    each = exercise(name)
    assert judge(each, with_pullbacks(each, students.IN_ANOTHER_WAY[name])) == []


def test_a_missing_file_and_another_forward_pass_get_none(tmp_path):
    each = exercise("gelu")
    assert grade(each, tmp_path / each.file).said == ("there is no file 12_gelu.py: `course start` writes it again",)
    text = solution(each).replace("return x * h,", "return 2 * x * h,")
    (tmp_path / each.file).write_text(text, encoding="utf-8")
    result = grade(each, tmp_path / each.file)
    assert result.said == ("the result is another one: leave the forward pass as it was given",)


def test_typical_mistakes_get_the_right_sentence():
    """At least 40 mistakes, none with points, nine of ten named."""
    missed = []
    for mistake in students.MISTAKES:
        said = judge(exercise(mistake.name), students.mistaken(mistake))
        assert said, f"no fault found: {mistake}"
        if not re.search(mistake.said, said[0]):
            missed.append((mistake.name, mistake.body, said[0]))
    share = 1 - len(missed) / len(students.MISTAKES)
    print(f"{len(students.MISTAKES)} mistakes, {share:.0%} named", *missed, sep="\n")
    assert len(students.MISTAKES) >= 40
    assert share >= 0.9


@pytest.fixture(scope="module")
def counts():
    """Mutants of all exercises by outcome, and what is said of those that run silently: right if a new draw agrees."""
    total, survivors = Counter(), []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in EXERCISES:
            forward = load(blank_text(each), each.name, each.file)
            for number, (change, mutant) in enumerate(mutants(each.op, "plain")):
                if number % EVERY:
                    continue
                rule, broadcasts = mutant.plain.function, mutant.broadcasts
                outcome = _outcome(each, rule, forward, broadcasts)
                total.update(["all", outcome])
                if outcome == "survives":
                    survivors.append(f"{each.name}: {change}")
    return total, survivors


def _outcome(each, rule, forward, broadcasts):
    if not faults(each, rule, broadcasts):
        return "survives"
    causes = diagnose(rule, forward, samples_of(each.op), SEEDS[0], broadcasts)
    if any(cause.kind == "raises" for cause in causes):
        return "raises"
    named = [cause for cause in causes if cause.kind != DIFFERENCE]
    right = named and holds(named[0], rule, forward, samples_of(each.op), 7, broadcasts)
    return "right" if right else "silent, not named"


def test_no_mutant_gets_points(counts):
    total, survivors = counts
    print(dict(total))
    assert [change for change in survivors if not EQUIVALENT.search(change)] == []
    assert total["all"] >= 45


def test_silent_mutants_get_a_sentence_that_holds_on_new_values(counts):
    total, _ = counts
    share = total["right"] / (total["right"] + total["silent, not named"])
    print(f"{share:.1%} of {total['right'] + total['silent, not named']} silent mutants named")
    assert share >= 0.85


def test_an_error_comes_with_the_shapes_that_the_function_was_given():
    text = solution(exercise("linear")).replace("return g @ weight.T", "return weight @ g")
    said = judge(exercise("linear"), text)
    assert said[1].startswith("gradient of 'x': raises ValueError: matmul: ")
    assert said[1].endswith(", with x (2, 3), weight (3, 4), bias (4,), g (2, 4)")


def test_an_error_in_a_function_of_all_gradients_blames_no_argument(tmp_path):
    each = exercise("attention")
    path = tmp_path / each.file
    mistake = next(m for m in students.MISTAKES if "S_grad @ q" in m.body)
    path.write_text(students.mistaken(mistake), encoding="utf-8")
    where, raised = grade(each, path).said
    assert where == "gradient of 'k': the only one that is wrong where all matrices are square"
    assert re.match(r"raises ValueError: .* \(line \d+\), with q ", raised)


@pytest.mark.parametrize(("name", "body", "patterns"), [
    ("tanh", "y2 = y\ny2 *= y2\nreturn g * (1 - y2)", ["^nothing is written, .* writes into an array", "^jacobian"]),
    ("sigmoid", "z = y\nz *= y\nreturn g * z", ["^gradient of 'x': writes in place into an array that it needs again"]),
    ("tanh", "return (g * (1 - y * y)).astype('float32')", [r"is float32, the argument float64; .*\.astype"]),
    ("tanh", "return xp.asarray(g * (1 - y * y), dtype='float64')", [r"float32 'x' is float64.*\.astype\(g.dtype\)"]),
])
def test_what_is_written_is_said_first_and_a_dtype_once(name, body, patterns, tmp_path):
    each = exercise(name)
    path = tmp_path / each.file
    path.write_text(with_pullbacks(each, {"grad_x": body}), encoding="utf-8")
    said = grade(each, path).said
    assert len(said) == len(patterns)
    for text, pattern in zip(said, patterns, strict=True):
        assert re.search(pattern, text)
