"""The list of exercises."""

import pytest

from tinygrad_gpt.course.exercises import EXERCISES, exercise
from tinygrad_gpt.course.layers import LAYERS
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.errors import UsageError


def test_each_exercise_is_an_op_or_a_layer_and_is_numbered():
    assert [each.number for each in EXERCISES] == list(range(1, len(EXERCISES) + 1))
    assert all(each.op is OPS[each.name] for each in EXERCISES if not each.is_layer)
    assert {each.name for each in EXERCISES if each.is_layer} == set(LAYERS)
    assert not set(OPS) & set(LAYERS)


def test_an_exercise_is_found_by_its_name_and_its_file():
    assert exercise("gelu") is exercise("12_gelu.py")
    with pytest.raises(UsageError, match=r"no such exercise \(glu\): choose from mul, "):
        exercise("glu")
