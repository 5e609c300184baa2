"""The solutions that a teacher gets."""

import ast

import pytest

from tinygrad_gpt.course.blanks import blank_text
from tinygrad_gpt.course.exercises import EXERCISES, exercise
from tinygrad_gpt.course.grade import grade
from tinygrad_gpt.course.solutions import right_bodies, solution, with_pullbacks


@pytest.mark.parametrize("name", ["mul", "softmax", "mlp", "causal_attention", "block"])
def test_a_solution_gets_all_points(name, tmp_path):
    each = exercise(name)
    (tmp_path / each.file).write_text(solution(each), encoding="utf-8")
    assert grade(each, tmp_path / each.file).points == each.points


@pytest.mark.parametrize("each", EXERCISES, ids=lambda each: each.name)
def test_nothing_is_left_to_write_and_the_rest_is_the_students_text(each):
    text = solution(each)
    assert "NotImplementedError" not in text.partition('"""\n')[2].partition('"""')[2]
    assert ast.parse(text).body[0].value.value == ast.parse(blank_text(each)).body[0].value.value


def test_pullbacks_that_are_not_given_stay_unwritten():
    each = exercise("mul")
    bodies = right_bodies(each)
    some = dict(list(bodies.items())[:1])
    assert with_pullbacks(each, some).count("raise NotImplementedError(") == len(bodies) - 1
