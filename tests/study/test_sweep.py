"""The sweep as a call: what it says of ops that are wrong in one way each; that each check can fail."""

import math

import numpy as np
import pytest

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS, Op
from tinygrad_gpt.study.sweep import CHECKS, check


def an_op(pullback, y=lambda x: x * x, samples=lambda r: [(r.normal(2, 3),)]):
    """An op of one argument; its pullback is given g, x and y."""
    def own(xp, x):
        result = y(x)
        return result, (pullback and (lambda g: pullback(g, x, result)),)

    return Op(own, samples=samples)


def written(g, x, y):
    y *= 2
    return g * y / x


WRONG = {
    "every_argument": (None, "no argument has a gradient"),
    "derivatives": (lambda g, x, y: g * x, "the gradient of 'x' along a random direction is "),
    "joint_derivative": (lambda g, x, y: -2 * g * x, "all gradients together, along a random direction, give "),
    "jacobian": (lambda g, x, y: 2 * g[::-1] * x, "the derivative of result "),
    "float32_stays": (lambda g, x, y: g * x * np.float64(2), "the gradient of a float32 'x' is float64"),
    "layouts": (lambda g, x, y: 2 * g * x * (1 if g.flags.c_contiguous else 2), "the gradient of 'x' is another one "),
    "nothing_is_written": (written, "writes in place into an argument, the gradient or a saved array"),
    "stable": (lambda g, x, y: 2 * g * np.exp(np.log(np.abs(x)) * 20) / x ** 19, "raises RuntimeWarning: overflow"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_said_in_words(name):
    pullback, said = WRONG[name]
    (found,) = check(an_op(pullback), checks=[name])
    assert (found.check, found.sample) == (name, 0)
    assert found.text.startswith(said)
    assert str(found).startswith(name.replace("_", " ") + ", sample 0: ")


def test_a_view_of_the_argument_is_shared():
    (found,) = check(an_op(lambda g, x, y: x, y=np.abs), checks=["nothing_is_shared"])
    assert found.text == "the gradient of 'x' is a view of another array; return a copy"


def test_special_points_are_those_of_pytorch():
    relu = an_op(lambda g, x, y: g * (x >= 0), y=lambda x: np.maximum(x, 0))
    relu.name = "relu"
    (found,) = check(relu, checks=["special_points"])
    assert found.text.endswith("expected [0.0, 0.0, 1.0], where no derivative is")


def test_what_a_pullback_raises_is_a_finding():
    def fails(g, x, y):
        raise ZeroDivisionError("by zero")

    found = check(an_op(fails))
    assert len(found) == len(CHECKS) - 1  # no special points
    assert {finding.text for finding in found} == {"raises ZeroDivisionError: by zero"}


def test_a_pullback_that_counts_its_calls_is_found():
    calls = []

    def counted(g, x, y):
        calls.append(1)
        return 2 * g * x * len(calls)

    (found,) = check(an_op(counted), checks=["nothing_is_written"])
    assert found.text.startswith("the second backward pass gives another gradient of 'x': ")


def test_a_seed_of_ones_would_not_see_what_the_sweep_sees():
    """The gradient of softmax along ones is 0, whatever its factor."""
    doubled = Op(OPS["softmax"].function, samples=OPS["softmax"].samples)
    plain = doubled.plain.function

    def softmax(xp, x, *, axis=-1):
        y, (grad_x,) = plain(xp, x, axis=axis)
        return y, (lambda g: 2 * grad_x(g),)

    wrong = Op(softmax, samples=OPS["softmax"].samples)
    _, (grad_x,) = softmax(np, np.arange(3.0))
    assert math.isclose(float(np.abs(grad_x(np.ones(3))).max()), 0.0, abs_tol=1e-15)
    assert [finding.check for finding in check(wrong)] == ["derivatives", "joint_derivative", "jacobian"]


@pytest.mark.parametrize("name", ["add", "linear", "layer_norm", "gelu", "softmax", "embedding"])
def test_the_ops_pass_by_name(name):
    assert check(name) == []


def test_wrong_is_an_assertion():
    with pytest.raises(AssertionError, match="no argument"):
        CHECKS["every_argument"](an_op(None), ((np.ones(2),), {}), 0)
