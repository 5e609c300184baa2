"""The explanation of one number: shares that add up, differences and PyTorch beside it, and what it prints."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.engine import Tensor, using_ops
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.text_step import text_step
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.study.explain import explain, find_entry, numeric_derivative
from tinygrad_gpt.study.gradcheck import relative_difference
from tinygrad_gpt.study.trace import record

TEXT = "Once upon a time there was a little girl"


@pytest.fixture(scope="module")
def step():
    return text_step(load_model("storyteller"), TEXT)


@pytest.fixture(scope="module")
def trace(step):
    with using_ops("plain"):
        return step.trace("float64")


def largest(trace, name):
    grad = trace.leaf(name).grad
    return tuple(int(i) for i in np.unravel_index(np.abs(grad).argmax(), grad.shape))


def explained(step, trace, name, index):
    numeric = numeric_derivative(step.compute, dict(step.parameters)[name], index)
    return explain(trace, name, index, numeric=numeric, tokens=step.tokens)


def test_all_parameters_of_the_shipped_model_agree_with_differences(step, trace):
    names = [name for name, _ in step.parameters]
    assert len(names) == 100
    for name in names:
        index = largest(trace, name)
        analytic = float(trace.leaf(name).grad[index])
        numeric = numeric_derivative(step.compute, dict(step.parameters)[name], index)
        assert relative_difference(analytic, numeric) <= 1e-8, name


@pytest.mark.parametrize("name", ["wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.bias",
                                  "h.3.ln_2.weight", "ln_f.bias"])
def test_the_shares_of_every_cut_are_the_derivative(step, trace, name):
    found = explained(step, trace, name, largest(trace, name))
    assert found.flows
    for number in range(max(found.number, len(step.parameters) - 1), found.ops[-1].number):
        assert found.share(found.cut(number)) == pytest.approx(1, abs=1e-6)
    for op in found.ops:  # what comes out of an op went into it
        assert sum(flow.amount for flow in found.flows if flow.step == op.number) == pytest.approx(
            op.amount, abs=1e-7 * abs(found.analytic))


def test_a_small_graph_by_hand():
    """loss = w² + 3 w at w = 2: 4 of the derivative 7 through the square, 3 through the product."""
    w = Tensor(np.array([2.0]), requires_grad=True)
    trace = record(lambda: (w * w + w * 3.0).sum(), [("w", w)])
    found = explain(trace, "w", (0,), numeric=7.0)
    assert (found.analytic, found.value, found.error) == (7.0, 2.0, 0.0)
    assert [(op.op, op.amount) for op in found.ops] == [
        (op, pytest.approx(amount)) for op, amount in (("mul", 4), ("mul", 3), ("add", 7), ("sum", 7))]
    assert [(flow.source, flow.step, flow.argument) for flow in found.flows] == [
        (0, 1, "a"), (0, 1, "b"), (0, 2, "a"), (1, 3, "a"), (2, 3, "b"), (3, 4, "x")]
    assert found.ops[0].terms[0].tangent == pytest.approx(4)  # d(w²)/dw


def test_the_difference_is_relative_to_the_derivative():
    w = Tensor(np.array([2.0]), requires_grad=True)
    trace = record(lambda: (w * w).sum() * 1e-9, [("w", w)])
    found = explain(trace, "w", (0,), numeric=3e-9)
    assert found.error == pytest.approx(0.25)
    assert "(relative difference 2.5e-01)" in str(found)


def test_the_text_names_tokens_formulas_shares_and_lines(step, trace):
    text = str(explained(step, trace, "h.1.attn.c_proj.weight", (5, 7)))
    assert text.startswith("∂loss/∂h.1.attn.c_proj.weight[5, 7] = ")
    assert "W̄ = xᵀ ȳ" in text
    assert "' time'" in text
    assert "100.0%" in text
    assert "tinygrad_gpt/ops/matmul.py:" in text
    assert "ops/fast" not in text


def test_torch_stands_beside_it(trace):
    found = explain(trace, "ln_f.bias", (0,), numeric=0.0, torch=0.25)
    assert "by PyTorch             +0.25" in str(found)


def test_numeric_derivative_leaves_the_parameter_as_it_was(step):
    parameter = dict(step.parameters)["ln_f.bias"]
    before = parameter.data
    numeric_derivative(step.compute, parameter, (0,))
    assert parameter.data is before


PARAMETERS = [(name, p) for name, p in tiny.language_model().transformer.named_parameters()]


@pytest.mark.parametrize(("text", "expected"), [
    ("h.0.mlp.c_fc.weight[3,7]", ("h.0.mlp.c_fc.weight", (3, 7))),
    (" ln_f.bias [ -1 ] ", ("ln_f.bias", (15,))),
])
def test_an_entry_is_found(text, expected):
    assert find_entry(text, PARAMETERS) == expected


@pytest.mark.parametrize(("text", "said"), [
    ("h.0.mlp.fc.weight[0,0]", r"unknown parameter \(h.0.mlp.fc.weight\): .*; did you mean h.0.mlp.c_fc.weight"),
    ("?", r"unknown parameter \(\?\): .*; one of them is wte.weight"),
    ("ln_f.bias[16]", r"index 16 \(ln_f.bias\): its shape is \(16,\); give 1 numbers, such as ln_f.bias\[0\]"),
    ("wpe.weight[3]", r"index 3 \(wpe.weight\): its shape is \(16, 16\)"),
    ("wpe.weight", r"index missing \(wpe.weight\)"),
    ("wpe.weight[1-,2]", r"index 1-,2 \(wpe.weight\)"),
])
def test_what_is_not_there_is_named(text, said):
    with pytest.raises(UsageError, match=said):
        find_entry(text, PARAMETERS)


def test_a_parameter_without_a_gradient_is_refused():
    w, v = (Tensor(np.array([2.0]), requires_grad=True) for _ in range(2))
    trace = record(lambda: (w * w).sum(), [("w", w), ("v", v)])
    with pytest.raises(UsageError, match=r"cannot explain \(v\): no gradient reaches this parameter"):
        explain(trace, "v", (0,), numeric=0.0)
