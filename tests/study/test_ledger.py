"""The ledger names the op, the argument and the line of a wrong rule in a real step, and suspects no right one."""

import gc
import os
import warnings
from collections import Counter

import numpy as np
import pytest
from mutants import mutants

from tinygrad_gpt.engine import OPS, Tensor, checking, using_ops
from tinygrad_gpt.recipes.text_step import text_step, tiny_step
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.study.ledger import LIMITS, balances, directions, findings, ledger_table, tangents
from tinygrad_gpt.study.trace import record

FORMS = ("plain", "fast", "composed")
DTYPES = ("float64", "float32")
SOAK = "TINYGRAD_GPT_SOAK" in os.environ
EVERY = {"plain": 1 if SOAK else 3, "fast": 1 if SOAK else 3, "composed": 1 if SOAK else 9}  # one mutant of so many


def suspects(step, trace, dtype):
    return findings(trace, tangents(trace, directions(step.parameters)), LIMITS[dtype])


@pytest.fixture(scope="module")
def small():
    """A training step with dropout, of a tiny GPT-2 whose weights are large enough to count."""
    step = tiny_step()
    generator = np.random.default_rng(1)
    for _, parameter in step.parameters:
        parameter.data = generator.normal(0, 0.5, parameter.shape)
    return step


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["storyteller", "sms-spam"])
def test_the_shipped_models_balance(name, dtype, form):
    step = text_step(load_model(name), "Once upon a time you won a prize")
    with using_ops(form):
        trace = step.trace(dtype)
        assert suspects(step, trace, dtype) == []
        rows = balances(trace, tangents(trace, directions(step.parameters)))
    assert len(rows) == len([s for s in trace.ops if s.grad is not None]) >= 45
    assert all(row.passed(LIMITS[dtype] / 10) for row in rows)


def test_both_sides_are_the_derivative_of_the_loss(small):
    trace = small.trace("float64")
    along = directions(small.parameters)
    slope = sum(float((trace.leaf(name).grad * along[name]).sum()) for name, _ in small.parameters)
    row = balances(trace, tangents(trace, along))[-1]
    assert row.out == pytest.approx(slope, rel=1e-7)
    assert sum(row.into.values()) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_rules_are_named(small, form, dtype):
    """At least 98 of 100 mutants that run and change a gradient are named exactly."""
    with using_ops(form), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        right = small.trace(dtype)
        assert suspects(small, right, dtype) == []
        outcomes, missed = Counter(), []
        for name in sorted({step.label for step in right.ops}):
            which = "fast" if form == "fast" and OPS[name].fast else "plain"
            for change, mutant in list(mutants(OPS[name], which))[::EVERY[form]]:
                outcome = planted(small, right, dtype, OPS[name], which, mutant)
                outcomes[outcome] += 1
                missed += [f"{name}: {change}"] * (outcome == "missed")
    assert outcomes["named"] > 140 // EVERY[form]
    assert outcomes["missed"] <= 0.02 * (outcomes["named"] + outcomes["missed"]), missed


def planted(small, right, dtype, op, form, mutant):
    """What becomes of one wrong rule: it raises, changes nothing, is named, or is missed."""
    original, weights = (getattr(op, form), op.broadcasts), {n: p.data.copy() for n, p in small.parameters}
    setattr(op, form, getattr(mutant, form))
    op.broadcasts = mutant.broadcasts
    try:
        with checking():  # which refuses a pullback that writes into what was saved
            trace = record(small.compute, small.parameters)
        if all(same(trace.leaf(name).grad, right.leaf(name).grad, dtype) for name in weights):
            return "same"
        return "named" if {found.step.label for found in suspects(small, trace, dtype)} == {op.name} else "missed"
    except Exception:
        return "raised"
    finally:
        setattr(op, form, original[0])
        op.broadcasts = original[1]
        for name, parameter in small.parameters:
            if not parameter.data.flags.writeable:
                gc.collect()  # a raised error is in a cycle with the graph that locks the parameter
            parameter.data[...] = weights[name]


def same(a, b, dtype):
    limits = {"float64": (1e-9, 1e-12), "float32": (1e-4, 1e-5)}[dtype]
    return a is not None and np.allclose(a, b, *limits)


@pytest.fixture
def slow_exp(monkeypatch):
    """An `exp` whose gradient is 2 % too small."""
    right = OPS["exp"].plain.function

    def exp(xp, x):
        y, _ = right(xp, x)
        return y, [lambda g: g * y * 0.98]

    monkeypatch.setattr(OPS["exp"].plain, "function", exp)
    return exp


def test_a_finding_says_op_argument_and_line(slow_exp):
    x = Tensor(np.array([0.5, 1.0]), requires_grad=True)
    trace = record(lambda: (x * 3.0).exp().sum(), [("x", x)])
    (found,) = findings(trace, tangents(trace, {"x": np.ones(2)}), 1e-6)
    assert (found.step.label, found.what) == ("exp", "gradient of 'x'")
    assert found.where.rsplit(":", 1)[0].endswith("test_ledger.py")
    assert found.ours == pytest.approx(0.98 * found.expected)
    assert str(found).startswith("step 2, op 'exp': wrong gradient of 'x' (")


def test_a_result_that_is_not_the_plain_forms_is_found(monkeypatch):
    op = OPS["embedding"]
    right = op.fast.function

    def embedding(xp, table, ids, **settings):
        y, pullbacks = right(xp, table, ids, **settings)
        return y + 0.01, pullbacks

    monkeypatch.setattr(op.fast, "function", embedding)
    x = Tensor(np.array([[0.5, 1.0], [-1.0, 2.0]]), requires_grad=True)
    trace = record(lambda: op(x, np.array([1, 0, 1])).sum(), [("x", x)])
    (found,) = findings(trace, tangents(trace, {"x": np.ones((2, 2))}), 1e-6)
    assert (found.step.label, found.what) == ("embedding", "result")
    assert found.ours == pytest.approx(found.expected + 0.01)


def test_what_is_detached_stays_where_it_is():
    x = Tensor(np.array([0.5, 1.0]), requires_grad=True)
    trace = record(lambda: (x * x.detach()).sum(), [("x", x)])
    moved = tangents(trace, {"x": np.ones(2)})
    assert moved[1] == pytest.approx([0.5, 1.0])
    assert findings(trace, moved, 1e-6) == []


def test_the_table_has_a_line_for_each_op():
    x = Tensor(np.array([0.5, 1.0]), requires_grad=True)
    trace = record(lambda: (x * x).sum(), [("x", x)])
    lines = ledger_table(balances(trace, tangents(trace, {"x": np.ones(2)}))).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["1", "mul"], ["2", "sum"]]
    assert "a +1.5  b +1.5" in lines[1]


@pytest.mark.kernels
def test_every_backend_balances_and_a_wrong_rule_of_its_form_is_named(backend, monkeypatch):
    step = tiny_step()
    trace = step.trace("float64")
    assert suspects(step, trace, "float64") == []
    form = OPS["layer_norm"].form(backend)
    right = form.function

    def layer_norm(xp, x, weight, bias, **settings):
        y, pullbacks = right(xp, x, weight, bias, **settings)
        if callable(pullbacks):
            return y, lambda g: [grad * factor for grad, factor in zip(pullbacks(g), (1.1, 1.0, 1.0), strict=True)]
        first = pullbacks[0]
        return y, [lambda g: first(g) * 1.1, *pullbacks[1:]]

    monkeypatch.setattr(form, "function", layer_norm)
    found = suspects(step, record(step.compute, step.parameters), "float64")
    assert {(f.step.label, f.what) for f in found} == {("layer_norm", "gradient of 'x'")}
    assert len(found) == 5
