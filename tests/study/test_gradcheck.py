"""The gradient check: right ops pass, and every kind of wrong gradient is reported."""

import math

import numpy as np
import pytest

from tinygrad_gpt.engine import OPS, op
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.study import Check, Draw, check_op
from tinygrad_gpt.study.gradcheck import LIMIT, check_table, split_sample, summary


@pytest.fixture
def register():
    """Register an op with a given pullback of x, for one test: y = x² · c."""

    def temporary(pullback, *, joint=False):
        @op(samples=lambda r: [(r.normal(2, 3), 3.0)])
        def wrong(xp, x, c):
            def grad_x(g):
                return pullback(g, x, c)

            def grads(g):
                return pullback(g, x, c), None

            return x * x * c, grads if joint else (grad_x, None)

        return wrong

    yield temporary
    OPS.pop("wrong", None)


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_gradient_is_right(name):
    checks = list(check_op(name))
    assert checks
    assert [c for c in checks if not c.passed()] == []


def test_the_check_runs_on_the_default_backend(backend, register):
    seen = set()

    def pullback(g, x, c):
        seen.update(map(type, (g, x)))
        return 2 * g * x * c

    (check,) = check_op(register(pullback))
    assert seen == {backend.array_type}
    assert check.passed()
    assert all(c.passed() for c in check_op("slice"))


def test_a_right_temporary_op_passes(register):
    (check,) = check_op(register(lambda g, x, c: 2 * g * x * c))
    assert check.passed()
    assert (check.op, check.sample, check.argument, check.shape) == ("wrong", 0, "x", (2, 3))
    assert check.analytic == pytest.approx(check.numeric, rel=1e-8)


@pytest.mark.parametrize("pullback", [
    pytest.param(lambda g, x, c: g * x * c, id="half"),
    pytest.param(lambda g, x, c: -2 * g * x * c, id="sign"),
    pytest.param(lambda g, x, c: 2 * x * c, id="forgets g"),
    pytest.param(lambda g, x, c: 2 * g * x, id="forgets a factor"),
    pytest.param(lambda g, x, c: 2 * g * x * c * (1 + 1e-5), id="slightly off"),
    pytest.param(lambda g, x, c: (2 * g * x * c)[::-1], id="rows swapped"),
    pytest.param(lambda g, x, c: np.where(np.arange(x.size).reshape(x.shape) == 4, 0, 2 * g * x * c), id="one element"),
    pytest.param(lambda g, x, c: g * math.nan, id="nan"),
    pytest.param(lambda g, x, c: g * math.inf, id="infinite"),
])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_wrong_gradient_is_reported(register, pullback):
    (check,) = check_op(register(pullback))
    assert not check.passed()
    assert "FAILED" in check_table([check]).splitlines()[1]
    assert "1 FAILED (wrong)" in summary([check])


def test_a_gradient_that_is_missing_counts_as_zero(register):
    (check,) = check_op(register(lambda g, x, c: None, joint=True))
    assert (check.analytic, check.passed()) == (0.0, False)


def test_a_gradient_of_the_wrong_shape_names_op_and_argument(register):
    with pytest.raises(ShapeError, match=r"op 'wrong': gradient of 'x' is \(3,\) but the argument is \(2, 3\)"):
        list(check_op(register(lambda g, x, c: g.sum(axis=0))))


def test_a_number_that_is_not_finite_makes_the_error_infinite(register):
    (check,) = check_op(register(lambda g, x, c: g * math.nan))
    assert math.isnan(check.analytic)
    assert check.error == math.inf


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    assert list(check_op("layer_norm", seed=3)) == list(check_op("layer_norm", seed=3))
    assert list(check_op("layer_norm", seed=3)) != list(check_op("layer_norm", seed=4))


def test_draws_are_what_they_say():
    draw = Draw(1)
    assert draw.normal().shape == ()
    assert draw.normal(2, 3).dtype == np.float64
    assert np.abs(draw.away_from_zero(1000)).min() >= 0.5
    assert draw.positive(1000).min() >= 0.5
    assert set(draw.integers(3, 1000)) == {0, 1, 2}
    assert 0.6 < draw.mask(1000).mean() < 0.9
    padding = draw.padding(50, 4)
    assert padding[:, 0].all()
    assert not padding[:, -1].all()
    assert (np.diff(padding.astype(int), axis=1) <= 0).all()


def test_a_sample_may_end_in_settings():
    assert split_sample((1, 2)) == ((1, 2), {})
    assert split_sample((1, {"axis": 0})) == ((1,), {"axis": 0})


def test_the_summary_counts_and_names_the_worst():
    checks = [Check("exp", "fast", 0, "x", (2,), 1.0, 1.0, 1e-12), Check("mul", "plain", 0, "a", (), 2.0, 2.0, 3e-9),
              Check("mul", "plain", 1, "a", (), 2.0, 2.0, 1e-9)]
    assert summary(checks) == ("2 ops in 2 forms, 2 arguments, 3 checks, worst relative error 3.0e-09 of "
                               f"max(1, Σ|terms|) (op mul, plain, argument a), limit {LIMIT:.0e}: all passed")
    assert summary(checks[:1]).startswith("1 op in 1 form, 1 argument, 1 check, ")
    assert summary([]).startswith("0 arguments checked")


def test_the_table_is_aligned():
    head, *lines = check_table([*check_op("exp"), *check_op("attention")]).splitlines()
    for title in ("analytic", "numeric"):
        end = head.index(title) + len(title)
        assert {line[end - 13] for line in lines} == {"."}  # twelve digits stand behind it
        assert {line[end] for line in lines} == {" "}
