"""Each fault of a gradient has its sentence; tests/course/test_grade.py has mistakes and mutants of whole ops."""

import numpy as np
import pytest
from rules import product, samples, wrong

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.claims import CLAIMS
from tinygrad_gpt.study.diagnose import DIFFERENCE, diagnose


@pytest.mark.parametrize(("grad_a", "kind", "text"), [
    (lambda g, a, b: np.asarray(1 / 0), "raises", "raises ZeroDivisionError: division by zero"),
    (lambda g, a, b: np.multiply(g, b, out=g), "in_place", "writes in place into g: compute a new array"),
    (lambda g, a, b: (g * b).T, "shape", "its shape is (3, 2), not that of the argument, (2, 3): it is transposed"),
    (lambda g, a, b: g[:1], "other_shape", "its shape is (1, 3), not that of the argument, (2, 3)"),
    (lambda g, a, b: g * b / 0, "not_finite", "holds NaN or infinity: a division by 0, or a logarithm of 0"),
    (lambda g, a, b: 0 * g, "zero", "all zeros: this way to the loss is missing"),
    (lambda g, a, b: b + 0, "unused_g", "does not depend on g, the gradient of the result: the chain rule "),
    (lambda g, a, b: g * g * b, "not_linear", "not linear in g: g is multiplied by itself"),
    (lambda g, a, b: g * b + 1, "not_linear", "not linear in g: with g = 0 it is not 0, something without g is added"),
    (lambda g, a, b: abs(g) * b, "not_linear", "not linear in g: g and −g give the same, as with a modulus of g"),
    (lambda g, a, b: -g * b, "factor", "the sign is wrong, all numbers are right"),
    (lambda g, a, b: g * b / 3, "factor", "1/3 times the right one, everywhere"),
    (lambda g, a, b: g * a, "another_argument", "it is the gradient of 'b'"),
    (lambda g, a, b: (g * b)[::-1], "order", "the right numbers, in reverse along axis 0"),
    (lambda g, a, b: g + 0, "array_factor", "the factor b is missing"),
    (lambda g, a, b: g * b * a, "array_factor", "the factor a is too much"),
    (lambda g, a, b: np.multiply(b, g, out=b), "in_place", "writes in place into b: compute a new array"),
    (lambda g, a, b: np.where(a < 0, 0.0, g * b), "by_sign", "wrong only where a < 0"),
    (lambda g, a, b: (g * b).sum(0, keepdims=True) + 0 * a, "a_sum_too_much",
     "it is summed over axis 0, which it should keep"),
    (lambda g, a, b: g * b + g * a, "one_term", "yours minus right is g · a"),
    (lambda g, a, b: np.sin(b) * g, DIFFERENCE, "entry ["),
])
def test_a_fault_has_its_sentence(grad_a, kind, text):
    with np.errstate(all="ignore"):
        (found,) = diagnose(wrong(grad_a), product, samples)
    assert (found.kind, found.argument, found.sample) == (kind, "a", 0)
    assert found.text.startswith(text)
    assert str(found) == f"gradient of 'a': {found.text}"


def test_what_a_pullback_writes_into_the_result_is_said():
    def rule(xp, a, b):
        y = np.tanh(a)

        def grad_a(g):
            square = y
            square *= y
            return g * square

        return y, (grad_a, None)

    (found,) = diagnose(rule, lambda xp, a, b: (np.tanh(a), (None, None)), lambda r: [(r.normal(2, 3), np.arange(3))])
    assert found.text.startswith("writes in place into an array that it needs again")


def test_a_factor_is_missing_in_one_wording():
    def forward(xp, a, b):
        return a * b, (lambda g: g * b, lambda g: (g * a).sum(axis=0))

    def rule(xp, a, b):
        return a * b, (lambda g: g + 0 * a, lambda g: g.sum(axis=0))

    found = diagnose(rule, forward, lambda r: [(r.normal(2, 3), r.normal(3))])
    assert [str(each) for each in found] == ["gradient of 'a': the factor b is missing",
                                             "gradient of 'b': the factor a is missing"]


def test_a_factor_too_much_is_said_only_if_it_is_the_only_one():
    def relu(xp, x):
        y = xp.where(x > 0, x, 0.0)
        return y, (lambda g: g * y,)

    (found,) = diagnose(relu, relu, lambda r: [(r.normal(3, 4),)])
    assert found.text == "wrong only where x > 0: it is g · y"


def test_what_is_raised_for_all_arguments_blames_none():
    def joint(xp, a, b):
        return a * b, lambda g: (g * b, 1 / 0)

    for rule, said in ((joint, "raises ZeroDivisionError"), (wrong(lambda g, a, b: 1 / 0), "gradient of 'a': raises")):
        assert str(diagnose(rule, product, samples)[0]).startswith(said)


def test_rows_that_do_not_count_are_said_to_be_zero():
    forward = OPS["cross_entropy"].function

    def rule(xp, logits, targets, class_weight=None):
        p = np.exp(logits - logits.max()) ** 1.1
        return forward(xp, logits, targets, class_weight)[0], (lambda g: g * p, None, None)

    ids = np.array([1, -100, 0])
    (found,) = diagnose(rule, forward, lambda r: [(r.normal(3, 4), ids, r.positive(4))])
    assert found.text == "not 0 in rows where targets is -100, which do not count; it is wrong elsewhere, too"


def test_each_claim_says_what_it_claims():
    assert all(claim.__doc__ and claim.__doc__.endswith(".") for claim in CLAIMS.values())
