"""The page of a step: its numbers read back, whole and sampled; and in a real browser."""

import base64
import json
import re

import numpy as np
import pytest

from tinygrad_gpt.engine import Tensor, composed_ops, using_ops
from tinygrad_gpt.figures.step_page import LIMIT, Reading, attention_maps, packed, step_page
from tinygrad_gpt.recipes.text_step import tiny_step
from tinygrad_gpt.study import view_tape
from tinygrad_gpt.study.trace import record

READING = Reading("A <b>title</b>", ("a", "b"), ("b", "c"))


@pytest.fixture(scope="module")
def step():
    return tiny_step()


@pytest.fixture(scope="module")
def trace(step):
    with using_ops("plain"):
        return step.trace()


def data_of(page):
    return json.loads(re.search(r"const DATA = (.*);\n", page.text)[1])


def read_back(array):
    bits = np.frombuffer(base64.b64decode(array["bits"]), "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(array["rows"], array["columns"])


def test_numbers_read_back_to_sixteen_bits():
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32) * np.float32(1e-30)
    array = packed(values, 100)
    np.testing.assert_allclose(read_back(array), values, rtol=2.0**-8)
    assert (array["shape"], array["block"], sum(array["counts"])) == ((5, 7), (1, 1), 35)
    assert array["max"] == pytest.approx(np.abs(values).max())
    assert array["rms"] == pytest.approx(np.sqrt((values.astype(np.float64) ** 2).mean()))


def test_values_that_are_not_finite_are_kept_and_counted():
    values = np.array([np.nan, np.inf, -np.inf, 3.4e38, -0.0], np.float32)
    array = packed(values, 100)
    found = read_back(array)[0]
    assert np.isnan(found[0])
    assert found[1:3].tolist() == [np.inf, -np.inf]
    assert (array["odd"], array["max"]) == (3, pytest.approx(3.4e38))
    json.dumps(array, allow_nan=False)


@pytest.mark.parametrize(("shape", "cells"), [((300, 70), 1000), ((1, 5000), 600), ((4096, 3), 500), ((7, 2, 90), 64)])
def test_a_large_array_is_shown_by_the_largest_of_each_block(shape, cells):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    array = packed(values, cells)
    shown, flat, (a, b) = read_back(array), values.reshape(-1, shape[-1]), array["block"]
    assert shown.size <= cells
    for i, j in [(0, 0), (array["rows"] - 1, array["columns"] - 1), (array["rows"] // 2, array["columns"] // 3)]:
        block = flat[i * a:(i + 1) * a, j * b:(j + 1) * b]
        assert shown[i, j] == pytest.approx(block.ravel()[np.abs(block).argmax()], rel=2.0**-8)


def test_scalars_and_empty_histograms():
    assert packed(np.float32(0), 10)["counts"] == [1]
    assert packed(np.zeros((2, 3)), 10)["max"] == 0


def test_every_node_of_the_tape_is_on_the_page(step, trace):
    page = step_page(trace, READING)
    steps = data_of(page)["steps"]
    nodes = view_tape(step.compute(), step.parameters).nodes
    assert [s["label"] for s in steps if s["op"]] == [n.label for n in nodes if n.op]
    assert {s["label"] for s in steps} == {n.label for n in nodes}
    assert page.sampled == 0
    for shown, real in zip(steps, trace.steps, strict=True):
        np.testing.assert_allclose(read_back(shown["value"]).ravel(), real.value.ravel(), rtol=2.0**-8)
        np.testing.assert_allclose(read_back(shown["grad"]).ravel(), real.grad.ravel(), rtol=2.0**-8)
        assert [edge[:2] for edge in shown["inputs"]] == [
            [real.argument(i), source.number] for i, source in enumerate(real.inputs) if source]


def test_the_page_keeps_its_limit_and_counts_what_is_sampled(trace):
    whole, small = step_page(trace, READING), step_page(trace, READING, limit=120_000)
    assert len(small.text) <= 120_000 < len(whole.text) < LIMIT
    assert small.sampled == sum(array["block"] != [1, 1] for s in data_of(small)["steps"]
                                for array in (s["value"], s["grad"]))
    assert small.sampled > 0


def test_the_page_loads_nothing_and_runs_nothing_of_a_text(trace):
    text = step_page(trace, Reading("</script><img src=x>", ("<script>alert(1)</script>",), ("&",))).text
    assert text.count("</script>") == 1
    assert "<img" not in text
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", text)


def test_attention_maps_are_those_of_the_composed_form(step, trace):
    with composed_ops():
        composed = step.trace()
    softmax = [s for s in composed.ops if s.fused and s.fused[0] == "self_attention" and s.label == "div"]
    fused = [s for s in trace.ops if s.label == "self_attention"]
    assert len(softmax) == len(fused) == 2
    for one, other in zip(fused, softmax, strict=True):
        weights, gradient = attention_maps(one)
        np.testing.assert_allclose(weights, other.value, atol=1e-6)
        np.testing.assert_allclose(gradient, np.where(weights > 0, other.grad, 0), atol=1e-6)


def test_a_gradient_is_read_as_words():
    table = np.eye(4, dtype=np.float32)
    x = Tensor(np.zeros((1, 2, 4), np.float32), requires_grad=True)
    slope = np.array([[[3.0, -1.0, 0.0, 2.0], [0.0, 0.0, -5.0, 1.0]]], np.float32)
    trace = record(lambda: ((x * 1.0) * slope).sum(), [("x", x)])
    page = step_page(trace, Reading("t", ("a", "b"), ("b", "c"), table=table, decode="wxyz".__getitem__))
    words = data_of(page)["steps"][1]["words"]
    assert [(towards[0], away[0]) for towards, away in words] == [("x", "w"), ("y", "z")]
