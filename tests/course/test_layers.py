"""Layers that students write: graded by their results, with a sentence for each typical mistake."""

import inspect

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.course import layers
from tinygrad_gpt.course.blanks import blank_text
from tinygrad_gpt.course.exercises import exercise
from tinygrad_gpt.course.grade import grade, judged_layer
from tinygrad_gpt.course.layers import LAYERS, MISTAKES
from tinygrad_gpt.course.tensors import on_tensors
from tinygrad_gpt.study.calls import samples
from tinygrad_gpt.study.sweep import check


def as_rule(function):
    return lambda xp, *arrays: on_tensors(function, ops, arrays)


def other_mlp(ops, x, w, b, v, c):
    h = x @ w + b
    return ops.gelu(h) @ v + c


def other_attention(ops, q, k, v):
    hidden = np.triu(np.full((q.shape[-2],) * 2, -1e9), 1).astype(q.dtype)
    scores = ops.exp(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5 + hidden)
    return (scores / scores.sum(axis=-1, keepdims=True)) @ v


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_a_right_op_and_is_right_as_an_exercise(name):
    assert check(LAYERS[name], checks=["every_argument", "derivatives", "joint_derivative", "layouts"]) == []
    assert judged_layer(exercise(name), as_rule(getattr(layers, name))) == []


@pytest.mark.parametrize(("name", "function"), [("mlp", other_mlp), ("causal_attention", other_attention)])
def test_a_layer_that_is_written_in_another_way_is_right(name, function):
    assert judged_layer(exercise(name), as_rule(function)) == []


@pytest.mark.parametrize(("name", "said"), [(name, said) for name in MISTAKES for said, _ in MISTAKES[name]])
def test_a_mistake_has_its_sentence(name, said):
    assert judged_layer(exercise(name), as_rule(dict(MISTAKES[name])[said])) == [f"in the result, {said}"]


def test_no_mistake_is_right_and_no_two_are_the_same():
    for name, mistakes in MISTAKES.items():
        arrays, _ = samples(LAYERS[name], 4)[0]
        results = [on_tensors(layer, ops, arrays)[0] for _, layer in [("", getattr(layers, name)), *mistakes]]
        for i, a in enumerate(results):
            assert not any(np.allclose(a, b) for b in results[:i]), (name, i)


def test_a_gradient_that_is_cut_off_is_said():
    def cut(ops, x, w, b, v, c):
        return layers.mlp(ops, x, w.detach(), b, v, c)

    assert judged_layer(exercise("mlp"), as_rule(cut)) == [
        "gradient of 'fc_weight': another one; compute with ops, so that each step is on the tape"]


@pytest.mark.parametrize(("body", "points", "said"), [
    ("return ops.linear(ops.gelu(ops.linear(x, fc_weight, fc_bias)), proj_weight, proj_bias)", 5, None),
    ("return ops.linear(ops.bias_gelu(x @ fc_weight, fc_bias), proj_weight, proj_bias)", 0, "AttributeError"),
    ("from tinygrad_gpt.ops import bias_gelu", 0, "imports tinygrad_gpt.ops"),
    ("import tinygrad_gpt.course.layers", 0, "imports tinygrad_gpt.course.layers"),
    ("return x.numpy()", 0, "the result is ndarray, not a Tensor"),
    ("return 0 * x", 0, "the result is all zeros"),
    ("return ops.linear(x, proj_weight)", 0, "raises ShapeError: op 'linear': last axis of x is 4"),
    ('raise NotImplementedError("the forward pass")', 0, "not written yet"),
])
def test_a_students_layer_is_graded(tmp_path, body, points, said):
    each = exercise("mlp")
    text = blank_text(each).replace('raise NotImplementedError("the forward pass")', body)
    (tmp_path / each.file).write_text(text, encoding="utf-8")
    result = grade(each, tmp_path / each.file)
    assert result.points == points
    assert (said or "") in "".join(result.said)
    assert bool(result.said) == (said is not None)


def test_the_solution_is_not_in_the_blank():
    for name in LAYERS:
        body = inspect.getsource(getattr(layers, name)).split('"""')[2].strip()
        assert body.splitlines()[0] not in blank_text(exercise(name))
