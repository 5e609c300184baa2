"""Slips of a first op of one's own: each is refused with the line to write."""

import numpy as np
import pytest

from tinygrad_gpt.engine import OPS, Op, Tensor, op
from tinygrad_gpt.engine.functional import hvp
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study import check_op
from tinygrad_gpt.study.sweep import check


def square(xp, x):
    def grad_x(g):
        return 2 * x * g

    return x * x, (grad_x,)


def no_comma(xp, x):
    def grad_x(g):
        return 2 * x * g

    return x * x, (grad_x)


def no_pullback(xp, x):
    return x * x


def three_values(xp, x):
    return x * x, x, None


def an_array_in_place_of_the_tuple(xp, x):
    return x * x, 2 * x


def an_array_in_the_tuple(xp, x):
    return x * x, (2 * x,)


def none_in_place_of_the_tuple(xp, x):
    return x * x, None


def too_few(xp, a, b):
    return a * b, (lambda g: g * b,)


def too_few_jointly(xp, a, b):
    def grads(g):
        return (g * b,)

    return a * b, grads


def nothing_jointly(xp, a, b):
    def grads(g):
        g * b, g * a

    return a * b, grads


def a_tensor(xp, x):
    return x * x, (lambda g: Tensor(2 * x * g),)


def a_number(xp, x):
    return x * x, (lambda g: 2.0,)


def no_return(xp, x):
    def grad_x(g):
        2 * x * g

    return x * x, (grad_x,)


MISTAKES = {
    no_comma: "the one pullback 'grad_x' returned one ndarray; write `return y, (grad_x,)` with a comma if it is of "
              "one argument, or let it return a tuple with a gradient for each",
    no_pullback: "it returned one ndarray, not the result and the pullbacks; write `return y, (grad_x,)`",
    three_values: "it returned a tuple of 3, not the result and the pullbacks; write `return y, (grad_x,)`",
    an_array_in_place_of_the_tuple: "behind the result it returned one ndarray, not its pullbacks; write "
                                    "`return y, (grad_x,)`, a tuple of functions",
    an_array_in_the_tuple: "the pullback of 'x' is one ndarray, not a function; write `def grad_x(g):` and return the "
                           "gradient from it",
    none_in_place_of_the_tuple: "behind the result it returned None, not its pullbacks; write `return y, (grad_x,)`, "
                                "a tuple of functions",
    too_few: "'b' has no pullback, the tuple is too short; write `return y, (grad_a, grad_b)`, with None for what has "
             "no gradient",
    too_few_jointly: "the one pullback 'grads' returned 1 gradients for 2 arguments; write `return y, (grads,)` with a "
                     "comma if it is of one argument, or let it return a tuple with a gradient for each",
    nothing_jointly: "the one pullback 'grads' returned None; write `return y, (grads,)` with a comma if it is of one "
                     "argument, or let it return a tuple with a gradient for each",
    a_tensor: "the pullback of 'x' returned one Tensor, not an array; compute it from g and the arrays, with operators "
              "and functions of xp",
    a_number: "the pullback of 'x' returned one float, not an array; compute it from g and the arrays, with operators "
              "and functions of xp",
    no_return: "the pullback of 'x' returned None; let it end with `return` and the gradient, or put None in its place "
               "if the argument has none",
}


def used(function, shape):
    """One step with the op, on leaves of a shape."""
    own = Op(function, samples=lambda r: [tuple(r.normal(*shape) for _ in own.arguments)])
    leaves = [Tensor(np.ones(shape, np.float32), requires_grad=True) for _ in own.arguments]
    own(*leaves).sum().backward()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 3), ()], ids=str)
@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_mistake_is_refused_with_what_to_write(function, shape):
    with pytest.raises(TapeError) as caught:
        used(function, shape)
    what = "one float32" if shape == () else "one ndarray"  # NumPy's arithmetic on 0-d arrays gives scalars
    expected = MISTAKES[function].replace("one ndarray", what)
    assert str(caught.value) == f"op '{function.__name__}': {expected}"
    assert len(str(caught.value)) <= 240


def test_the_right_op_passes():
    used(square, (3,))


def test_a_second_derivative_refuses_it_too():
    own = Op(no_comma, samples=lambda r: [(r.normal(3),)])
    OPS["no_comma"] = own
    try:
        with pytest.raises(TapeError, match=r"write `return y, \(grad_x,\)` with a comma"):
            hvp(lambda x: own(x).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 0.0]))
    finally:
        del OPS["no_comma"]


@pytest.fixture
def cell():
    """A notebook's cell that registers an op, run as often as it is called."""
    def run(body, samples="[(r.normal(3),)]"):
        code = f"@op(samples=lambda r: {samples})\ndef own_square(xp, x):\n    return {body}\n"
        names = {"__name__": "__main__", "op": op}
        exec(compile(code, "<cell>", "exec"), names)
        return names["own_square"]

    yield run
    OPS.pop("own_square", None)


def test_a_cell_that_is_run_again_replaces_its_op(cell):
    wrong = cell("x * x, (lambda g: g * x,)")
    assert not all(c.passed() for c in check_op(wrong))
    right = cell("x * x, (lambda g: 2 * g * x,)")
    assert OPS["own_square"] is right
    assert all(c.passed() for c in check_op("own_square"))


def test_none_for_an_argument_that_has_a_gradient_fails_the_check(cell):
    own = cell("x * x, (None,)")
    (compared,) = check_op(own)
    assert not compared.passed()
    assert compared.analytic == 0 != compared.numeric
    assert ("every argument, sample 0: no argument has a gradient; write a pullback in place of None for each that "
            "changes the result") in map(str, check(own))


def test_samples_that_are_no_tuples_are_refused(cell):
    for samples in ("[r.normal(3)]", "[(r.normal(3))]", "(r.normal(3),)", "[()]"):
        own = cell("x * x, (lambda g: 2 * g * x,)", samples)
        kind = "tuple" if samples == "[()]" else "ndarray"
        with pytest.raises(TapeError) as caught:
            list(check_op(own))
        assert str(caught.value) == (f"samples: each must be a tuple of arguments, not {kind}; write a list of tuples, "
                                     "with a comma in each, such as `lambda r: [(r.normal(3),)]`")
