"""Two runs of one step: none differs where only rounding does, and a planted fault is found where it is."""

import numpy as np
import pytest

from tinygrad_gpt.engine import OPS, Tensor, using_ops
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.text_step import text_step, tiny_step
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.study.compare import Record, compare, layers, limit_for, records
from tinygrad_gpt.study.gradcheck import Draw, split_sample
from tinygrad_gpt.study.trace import record

TEXT = "Once upon a time you won a prize"


def run(step, form="plain", dtype="float64"):
    with using_ops(form):
        return records(step.trace(dtype))


@pytest.fixture(scope="module")
def step():
    return text_step(load_model("storyteller"), TEXT)


@pytest.mark.parametrize("form", ["plain", "fast", "composed"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_forms_and_precisions_differ_by_rounding_only(step, form, dtype):
    a, b = run(step, form, dtype), run(step)
    comparison = compare(a, b, limit_for(a, b))
    assert (comparison.value, comparison.gradient) == (None, None)
    assert str(comparison).endswith("no step differs")
    assert len(comparison.rows) == len(b) == 185


def test_a_fused_op_counts_as_one_step(step):
    fused, composed = run(step, "fast"), run(step, "composed")
    assert [r.label for r in fused] == [r.label for r in composed]
    assert [r.inputs for r in fused] == [r.inputs for r in composed]


def graph(name, sample):
    """A step around one op: a product before it, a weighted sum behind it."""
    arguments, settings = split_sample(sample)
    leaves = [Tensor(a.astype(np.float64), requires_grad=True) if getattr(a, "dtype", np.dtype(int)).kind == "f" else a
              for a in arguments]

    def compute():
        y = OPS[name](*[a * 1.25 if isinstance(a, Tensor) else a for a in leaves], **settings)
        return (y * np.random.default_rng(3).normal(size=y.shape)).sum()

    return compute


def planted(monkeypatch, name, of_gradient):
    """Make the plain form of an op wrong by 1 %, in its result or in the gradient of its first argument."""
    right = OPS[name].plain.function

    def wrong(xp, *arrays, **settings):
        y, pullbacks = right(xp, *arrays, **settings)
        if not of_gradient:
            return y * 1.01, pullbacks
        if callable(pullbacks):
            return y, lambda g: [1.01 * pullbacks(g)[0], *pullbacks(g)[1:]]
        first = next(i for i, pullback in enumerate(pullbacks) if pullback)
        return y, [*pullbacks[:first], lambda g: 1.01 * pullbacks[first](g), *pullbacks[first + 1:]]

    monkeypatch.setattr(OPS[name].plain, "function", wrong)


@pytest.mark.parametrize("name", sorted(OPS))
@pytest.mark.parametrize("of_gradient", [False, True])
def test_a_planted_fault_is_found_at_its_op(monkeypatch, name, of_gradient):
    compute = graph(name, max(OPS[name].samples(Draw()), key=lambda s: sum(map(np.size, split_sample(s)[0]))))
    with using_ops("plain"), np.errstate(all="ignore"):
        right = records(record(compute))
        planted(monkeypatch, name, of_gradient)
        comparison = compare(records(record(compute)), right, 1e-9)
    found = comparison.gradient if of_gradient else comparison.value
    assert found is not None
    assert found.label == name
    if of_gradient:
        assert comparison.value is None
        assert next(iter(found.parts.values())) == pytest.approx(0.01, rel=1e-6)
    else:
        assert found.value == pytest.approx(0.01, rel=1e-6)


def test_the_text_names_the_step_its_inputs_and_the_argument(monkeypatch, step):
    right = run(step)
    planted(monkeypatch, "layer_norm", of_gradient=True)
    text = str(compare(run(step), right, 1e-9))
    assert "first value" not in text
    assert ("first gradient that differs: step 183, layer_norm in ln_f; of its result: 0.0e+00; sent to x: 1.0e-02"
            in text)
    assert "  step 182, add in h.7" in text


def test_one_number_that_is_not_finite_differs():
    a, b = (Record("x", "", (), np.array([1.0, value]), None) for value in (2.0, np.nan))
    assert compare([a], [b], 1e-4).value.value == np.inf
    assert compare([b], [b], 1e-4).value is None


def test_runs_of_other_ops_or_texts_are_refused(step):
    short = run(text_step(load_model("storyteller"), "Once"))
    with pytest.raises(UsageError, match=r"the runs differ \(step 100\): one calls embedding \(1, 9, 192\), the "):
        compare(run(step), short, 1e-9)
    with pytest.raises(UsageError, match=r"the runs differ \(steps\): one has 185, the other 184"):
        compare(run(step), run(step)[:-1], 1e-9)


def test_layers_are_the_last_steps_of_their_modules():
    found = records(tiny_step().trace())
    others = [Record(label, "", (), np.zeros(shape), None) for label, shape in (
        ("wte.weight", (50, 16)), ("h.0.ln_1", (2, 8, 16)), ("h.0", (2, 8, 16)), ("h.1", (2, 1, 16)), ("loss", ()),
        ("absent", ()))]
    ours, common = layers(found, others)
    assert [r.label for r in ours] == [r.label for r in common] == ["wte.weight", "h.0.ln_1", "h.0", "loss"]
    assert ours[2].value is [r for r in found if r.module == "h.0"][-1].value
    assert ours[3].value is found[-1].value
