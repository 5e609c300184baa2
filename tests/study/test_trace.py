"""A trace: all values, all gradients, and what each op sent to each argument."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt import ops
from tinygrad_gpt.engine import Tensor, no_grad, using_ops
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study import view_tape
from tinygrad_gpt.study.trace import record


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


@pytest.fixture(scope="module")
def model():
    return tiny.language_model().transformer


@pytest.fixture
def compute(model):
    ids = np.random.default_rng(0).integers(0, 50, (2, 9))
    return lambda: model.loss(ids[:, :-1], ids[:, 1:])


def test_values_and_gradients_of_a_small_graph():
    x, w = leaf(1.0, 2.0), leaf(3.0, -1.0)
    trace = record(lambda: (x * w * x).sum(), [("w", w)])
    assert [(s.label, s.value.tolist(), s.grad.tolist()) for s in trace.steps] == [
        ("w", [3.0, -1.0], [1.0, 4.0]), ("leaf", [1.0, 2.0], [6.0, -4.0]), ("mul", [3.0, -2.0], [1.0, 2.0]),
        ("mul", [3.0, -4.0], [1.0, 1.0]), ("sum", -1.0, 1.0)]


def test_parts_add_up_to_the_gradient_of_the_argument():
    x = leaf(1.0, 2.0)
    trace = record(lambda: (x * x + x).sum(), [("x", x)])
    sent = [part for step in trace.ops for i, part in step.parts.items() if step.inputs[i] is trace.leaf("x")]
    assert [part.tolist() for part in sent] == [[1.0, 2.0], [1.0, 2.0], [1.0, 1.0]]
    assert trace.leaf("x").grad.tolist() == np.sum(sent, axis=0).tolist()


@pytest.mark.parametrize("form", ["plain", "fast", "composed"])
def test_gradients_are_those_of_backward(model, compute, form):
    with using_ops(form):
        trace = record(compute, model.named_parameters())
        model.zero_grad()
        compute().backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(trace.leaf(name).grad, parameter.grad.numpy(), err_msg=name)


def test_no_gradient_of_a_tensor_changes(model, compute):
    model.zero_grad()
    record(compute, model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_steps_are_the_nodes_of_the_tape(model, compute):
    trace = record(compute, model.named_parameters())
    view = view_tape(compute(), model.named_parameters())
    assert [s.label for s in trace.ops] == [node.label for node in view.nodes if node.op]
    assert {s.label for s in trace.steps if s.op is None} == {node.label for node in view.nodes if not node.op}


def test_a_step_knows_its_module_its_line_and_its_pullbacks(model, compute):
    with using_ops("plain"):
        trace = record(compute, model.named_parameters(), model.named_modules())
    step = next(s for s in trace.ops if s.module == "h.1.mlp.c_proj")
    assert (step.label, step.line.split(":")[0]) == ("linear", "tinygrad_gpt/nn/layers.py")
    for argument, place in zip(("x", "weight", "bias"), step.pullbacks, strict=True):
        path, line = place.split(":")
        assert path == "tinygrad_gpt/ops/matmul.py"
        with open(ops.linear.function.__code__.co_filename, encoding="utf-8") as file:
            assert file.read().splitlines()[int(line) - 1].strip() == f"def grad_{argument}(g):"


def test_time_is_measured_forward_and_back(model, compute):
    trace = record(compute, model.named_parameters())
    assert all(forward > 0 and back > 0 for forward, back in (s.seconds for s in trace.ops))


def test_a_computation_that_records_nothing_is_refused():
    x = leaf(1.0)
    for compute in (lambda: 3.0, lambda: x.detach() * 2.0):
        with pytest.raises(TapeError, match="record: the result is on no tape; return a tensor"):
            record(compute)
    with no_grad():  # a trace records, whatever the mode around it
        assert record(lambda: (x * x).sum()).result.value == 1.0


def test_a_result_of_several_values_is_refused():
    x = leaf(1.0, 2.0)
    with pytest.raises(TapeError, match=r"record: the tensor has shape \(2,\), not one value"):
        record(lambda: x * x)
