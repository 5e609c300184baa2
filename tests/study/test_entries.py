"""The gradient check of any function, entry by entry."""

import numpy as np
import pytest

from tinygrad_gpt import OPS, Tensor, gradcheck, nn, ops
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study.entries import Entry, EntryCheck

DRAW = np.random.default_rng(0)
X = np.random.default_rng(1).normal(size=(2, 3))


def test_a_right_function_passes_and_prints_its_largest_errors():
    check = gradcheck(lambda x, w: ops.cross_entropy(ops.gelu(x @ w), np.array([0, 1])),
                      DRAW.normal(size=(2, 3)), DRAW.normal(size=(3, 4)))
    assert check
    assert len(check.entries) == 18
    assert max(abs(entry.analytic - entry.numeric) for entry in check.entries) < 1e-8
    assert str(check).splitlines()[-1] == "18 entries (13 not shown): all right"


def test_the_wrong_entry_is_shown(monkeypatch):
    right = OPS["exp"].plain.function

    def exp(xp, x):
        y, (pull,) = right(xp, x)
        return y, [lambda g: pull(g) * np.where(np.arange(x.size) == 1, 1.5, 1.0)]

    monkeypatch.setattr(OPS["exp"].plain, "function", exp)
    check = gradcheck(lambda x: x.exp().sum(), [0.0, 1.0, 2.0])
    assert not check
    (wrong,) = check.wrong
    assert (wrong.argument, wrong.index) == (0, (1,))
    assert wrong.analytic == pytest.approx(1.5 * np.e)
    assert wrong.numeric == pytest.approx(np.e)
    assert str(check).splitlines()[1].endswith("WRONG")
    assert str(check).splitlines()[-1] == "3 entries: 1 wrong"


def test_a_result_of_several_values_is_weighted():
    assert gradcheck(lambda x: x.softmax(), [0.1, 0.2, 0.3])  # unweighted the gradient would be 0
    assert all(abs(entry.analytic) > 1e-3 for entry in gradcheck(lambda x: x.softmax(), [0.1, 0.2, 0.3]).entries)


def test_integers_and_tensors_are_taken_as_floats():
    assert gradcheck(lambda x: (x * x).sum(), [1, 2])
    assert gradcheck(lambda x: (x * x).sum(), Tensor([1.0, 2.0]))


@pytest.mark.parametrize(("func", "said"), [
    (lambda x: 3.0, "the function returned float, not a Tensor; return a Tensor computed from the arguments, such as"),
    (lambda x: None, "the function returned NoneType, not a Tensor"),
    (lambda x: x.numpy().sum(), "not a Tensor"),
    (lambda x: Tensor(1.0), "the result does not depend on the arguments through ops"),
    (lambda x: (x.detach() * 2.0).sum(), "the result does not depend on the arguments through ops"),
])
def test_nonsense_is_refused_with_an_example(func, said):
    with pytest.raises(TapeError, match=said):
        gradcheck(func, [1.0, 2.0])


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-30, 1e8])
@pytest.mark.parametrize("func", [
    pytest.param(lambda x: (x * x.detach()).sum(), id="half"),
    pytest.param(lambda x: (x.detach() * x.detach()).sum() + x.sum() * 0.0, id="zero"),
    pytest.param(lambda x: ((x * x).detach() * 2.0 - x * x).sum(), id="negated"),
    pytest.param(lambda x: (x * x + (x * x - (x * x).detach()) * 1e-5).sum(), id="slightly off"),
])
def test_a_wrong_gradient_is_wrong_at_every_scale(func, scale):
    check = gradcheck(lambda x: func(x) * scale, X)
    assert len(check.wrong) == 6
    assert str(check).splitlines()[-1] == "6 entries: 6 wrong"
    assert not check


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-30, 1e8])
def test_a_right_gradient_is_right_at_every_scale(scale):
    check = gradcheck(lambda x: (x * x * x).sum() * scale, X)
    assert check
    assert check.unchecked == ()


def test_the_error_is_relative_to_the_larger_of_the_two():
    assert Entry(0, (), 1e-9, 2e-9, 0.0).error == 0.5
    assert Entry(0, (), -2e-9, 1e-9, 0.0).error == 1.5
    assert Entry(0, (), 0.0, 0.0, 0.0).error == 0.0
    assert Entry(0, (), 1.0, float("nan"), 0.0).error == float("inf")
    assert Entry(0, (), float("inf"), 1.0, float("inf")).passed() is False


@pytest.mark.parametrize(("analytic", "numeric", "noise", "passed"), [
    (1.0, 1.0, 0.0, True), (1.0, 1.00001, 0.0, False), (1.0, 1.00001, 1e-4, True), (1.0, 1.1, 0.2, None),
    (1e-12, 2e-12, 1e-9, None), (1e-12, 1e-12, 1e-9, None), (0.0, 0.0, 1e-9, True), (0.0, 1e-10, 1e-9, None),
    (1.0, 1e-10, 1e-9, False),
])
def test_what_the_noise_hides_is_neither_right_nor_wrong(analytic, numeric, noise, passed):
    assert Entry(0, (0,), analytic, numeric, noise).passed() is passed


def test_what_cannot_be_checked_is_counted_and_is_no_failure():
    check = gradcheck(lambda x: x[:3].sum() + (x[3:] * x[3:].detach()).sum() * 1e-18, np.ones(5))
    assert check
    assert (len(check.unchecked), len(check.wrong)) == (2, 0)
    lines = str(check).splitlines()
    assert all("not checked: numeric ±" in line for line in lines[1:3])
    assert lines[-1] == "5 entries: 0 wrong, 3 right, 2 not checked: too small beside the rounding of the differences"


def test_wrong_entries_stand_before_those_that_could_not_be_checked():
    entries = (Entry(0, (0,), 1.0, 1.1, 0.0), Entry(0, (1,), 1e-12, 3e-12, 1.0), Entry(0, (2,), 1.0, 1.0, 0.0))
    assert str(EntryCheck(entries, 1e-7)).splitlines()[-1].startswith("3 entries: 1 wrong, 1 right, 1 not checked")
    check = gradcheck(lambda x: x[0] * x[0].detach() + x[1] * 1e-18 + x[2], np.ones(3))
    assert [entry.index for entry in check.entries] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("func", [
    pytest.param(lambda x: ((x + 1e6) ** 2).sum(), id="large value"),
    pytest.param(lambda x: (x + 1e6 - 1e6).sum(), id="cancellation"),
    pytest.param(lambda x: x.sum() + 1e9, id="large constant"),
    pytest.param(lambda x: x.relu().sum(), id="kink"),
])
@pytest.mark.parametrize("x", [X, X * 1e-3, np.zeros(3) + 1e-5, X * 1e5])
def test_rounding_makes_no_right_gradient_wrong(func, x):
    assert gradcheck(func, x).wrong == ()


@pytest.mark.parametrize("x", [1e-9, 1e-6, 0.9e-6, 1.1e-6, 1e-3, 1.0, 1e6, 1e12])
@pytest.mark.parametrize(("right", "half"), [
    (lambda x: x.log().sum(), lambda x: (x.log() * 0.5 + x.log().detach()).sum()),
    (lambda x: (x ** 0.5).sum(), lambda x: (x ** 0.25 * (x ** 0.25).detach()).sum()),
    (lambda x: (1.0 / x).sum(), lambda x: (x.detach() ** -0.5 * x ** -0.5).sum()),
])
def test_the_step_fits_the_entry(right, half, x):
    assert not gradcheck(half, [x])
    assert gradcheck(right, [x])
    assert gradcheck(right, [x]).unchecked == ()


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_a_random_function_is_refused(p):
    generator = np.random.default_rng(0)
    with pytest.raises(TapeError, match=r"^gradcheck: the function is random: two calls with the same arguments "
                                        r"differ by \S+; seed its generator in it, or draw the mask outside$"):
        gradcheck(lambda x: (x * Tensor((generator.random(x.shape) > p) / (1 - p))).sum(), X)
    dropout = nn.Dropout(0.5)
    with pytest.raises(TapeError, match="the function is random"):
        gradcheck(lambda x: dropout(x).sum(), X)


def test_a_function_that_seeds_itself_is_checked():
    def seeded(x):
        return (x * Tensor(np.random.default_rng(3).random(x.shape) > 0.5)).sum()

    check = gradcheck(seeded, X)
    assert check
    assert check.unchecked == ()  # a dropped entry has a gradient and a difference of exactly 0
