"""One wrong line in a running GPT-2: each can be found with the ledger, and students get different ones."""

import numpy as np
import pytest

from tinygrad_gpt.course.detective import FAULTS, fault_of, planted_code
from tinygrad_gpt.course.gradients import own_functions, using_gradients
from tinygrad_gpt.recipes.text_step import tiny_step
from tinygrad_gpt.study.blackboard import GPT2_OPS, gradients_code
from tinygrad_gpt.study.ledger import LIMITS, directions, findings, tangents


def suspects(path):
    """What the ledger finds in a step of a tiny GPT-2 with the gradients of a file."""
    step = tiny_step()
    generator = np.random.default_rng(1)
    for _, parameter in step.parameters:
        parameter.data = generator.normal(0, 0.5, parameter.shape)
    with using_gradients(own_functions(path)[0]):
        trace = step.trace("float64")
        return findings(trace, tangents(trace, directions(step.parameters)), LIMITS["float64"])


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_the_ledger_finds_each_fault_and_nothing_else(tmp_path, number):
    fault = FAULTS[number]
    path = tmp_path / "gpt2_ops.py"
    path.write_text(planted_code(fault, "0.85"), encoding="utf-8")
    found = suspects(path)
    assert found
    for finding in found:
        assert finding.step.label in fault.ops
        assert finding.what in {f"gradient of '{argument}'" for argument in fault.arguments}
        assert str(path) in finding.where


def test_the_page_without_a_fault_has_no_suspect(tmp_path):
    (tmp_path / "gpt2_ops.py").write_text(gradients_code(), encoding="utf-8")
    assert suspects(tmp_path / "gpt2_ops.py") == []


def test_a_case_differs_from_the_page_in_one_line():
    right = gradients_code().splitlines()
    for fault in FAULTS:
        planted = planted_code(fault, "1.25").splitlines()[2:]
        assert len(planted) == len(right)
        assert sum(a != b for a, b in zip(planted, right, strict=True)) == 1


def test_students_get_different_lines():
    names = [f"student{number}" for number in range(60)]
    assert len({fault_of(name) for name in names}) >= 50
    assert {fault.ops[0] for fault, _ in map(fault_of, names)} <= set(GPT2_OPS)
    assert all(0.7 <= float(c) <= 1.3 and not 0.9 < float(c) < 1.1 for _, c in map(fault_of, names))
