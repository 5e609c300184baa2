"""A function or an op in a file of one's own."""

import pytest

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.errors import TapeError, UsageError
from tinygrad_gpt.study.own_function import check_own_function

FILE = """
import numpy as np
from tinygrad_gpt import op, ops

def product(a, b, scale=2.0):
    return (a @ b) * scale

def half(x):
    return 3

def fails(x):
    return x.nothing

@op(samples=lambda r: [(r.normal(3, 4),)])
def wrong_cube(xp, x):
    return x * x * x, [lambda g: g * 2 * x * x]

@op(samples=lambda r: [(r.normal(3),)])
def no_pullback(xp, x):
    return x * x, (None,)

@op(samples=lambda r: [(r.normal(4, 2), r.integers(4, 3))])
def rows_of(xp, table, ids):
    def grad_table(g):
        grad = np.zeros(table.shape, table.dtype)
        np.add.at(grad, ids, g)
        return grad
    return table[ids], (grad_table, None)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    yield str(path)
    OPS.pop("wrong_cube", None)
    OPS.pop("rows_of", None)
    OPS.pop("no_pullback", None)


def test_an_op_without_a_pullback_is_told_so(file):
    check = check_own_function(f"{file}:no_pullback")
    assert not check
    assert "every argument, sample 0: no argument has a gradient; write a pullback in place of None" in str(check)


def test_a_function(file):
    check = check_own_function(f"{file}:product", [(2, 3), (3, 4)])
    assert check
    assert len(check.entries) == 18


def test_shapes_that_are_not_given_are_two_by_three(file):
    with pytest.raises(TapeError, match=r"cannot check \(.*:product\): ShapeError: .*; mend the function, or give "):
        check_own_function(f"{file}:product")


def test_an_op_is_checked_on_its_sample(file):
    check = check_own_function(f"{file}:wrong_cube")
    assert len(check.wrong) == 12
    assert "2 of 10 checks of the sweep fail\n  derivatives, sample 0: the gradient of 'x' along a" in str(check)


def test_an_op_of_integers_is_put_through_the_sweep(file):
    check = check_own_function(f"{file}:rows_of")
    assert check
    assert str(check) == "all 10 checks of the sweep pass"


FORMS = """
from tinygrad_gpt import Tensor, op
from tinygrad_gpt.engine import composed, fast

@op(samples=lambda r: [(r.normal(2, 3), r.normal(3))], broadcasts=True)
def scaled(xp, x, weight):
    return x * weight, (lambda g: g * weight, lambda g: g * x)

@fast("scaled")
def scaled(xp, x, weight):
    return x * weight, (lambda g: g * weight, lambda g: g * x)

@composed("scaled")
def scaled(x, weight):
    return x * weight
"""


@pytest.fixture
def scaled(tmp_path):
    """Check an op with three forms, after a change of its text."""
    def checked(old="", new=""):
        (tmp_path / "mine.py").write_text(new.join(FORMS.rsplit(old, 1)) if old else FORMS)
        return check_own_function(f"{tmp_path}/mine.py:scaled")

    yield checked
    OPS.pop("scaled", None)


def test_all_forms_of_an_op_are_swept(scaled):
    check = scaled()
    assert check
    assert len(check.entries) == 9
    assert str(check).endswith("all 22 checks of the sweep pass, in the forms plain, fast, composed")


def test_a_wrong_fast_form_is_named(scaled):
    check = scaled("lambda g: g * x", "lambda g: 2 * g * x")
    assert not check
    assert "derivatives, sample 0: fast form: the gradient of 'weight' along a random direction is " in str(check)
    assert "forms agree, sample 0: fast form: the gradient of 'weight' is not that of the plain form: " in str(check)
    assert not check.wrong


def test_a_wrong_composed_form_is_named(scaled):
    check = scaled("return x * weight", "return 2.0 * x * weight")
    assert "1 of 22 checks of the sweep fail, in the forms plain, fast, composed\n" in str(check)
    assert "  forms agree, sample 0: composed form: the result is not that of the plain form: relative " in str(check)
    check = scaled("return x * weight", "return x * Tensor(weight.numpy())")
    assert "composed form: the gradient of 'weight' is missing in it" in str(check)
    check = scaled("return x * weight", "return x.nothing")
    assert "composed form: raises AttributeError: " in str(check)


def test_a_form_of_an_op_of_the_package_is_swept(tmp_path):
    before = OPS["relu"].fast
    (tmp_path / "mine.py").write_text(
        'from tinygrad_gpt.engine import fast\n\n@fast("relu")\ndef quick(xp, x):\n'
        "    return xp.maximum(x, 0), (lambda g: g * 2,)\n")
    try:
        check = check_own_function(f"{tmp_path}/mine.py:quick")
    finally:
        OPS["relu"].fast = before
    assert not check
    assert "fast form: the gradient of 'x' is not that of the plain form" in str(check)


@pytest.mark.parametrize(("name", "shapes", "error", "said"), [
    ("prodct", (), UsageError, r"no such function \(.*mine.py:prodct\): the file has product"),
    ("_x", (), UsageError, "the file has "),
    ("half", (), TapeError, "the function returned int, not a Tensor; return a Tensor computed from the arguments"),
    ("fails", (), TapeError, "AttributeError"),
    ("half", ((1,), (2,)), UsageError, "2 shapes, but the function takes 1 arguments"),
    ("half", ((1000, 1000),), UsageError, "1,000,000 entries, at most 10,000 are checked"),
])
def test_what_cannot_be_checked(file, name, shapes, error, said):
    with pytest.raises(error, match=said):
        check_own_function(f"{file}:{name}", shapes)


def test_files_that_cannot_be_run(tmp_path):
    (tmp_path / "broken.py").write_text("def f(x:\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(UsageError, match=r"no such file \(.*none.py\)"):
        check_own_function(f"{tmp_path}/none.py:f")
    with pytest.raises(TapeError, match=r"cannot run \(.*broken.py\): SyntaxError"):
        check_own_function(f"{tmp_path}/broken.py:f")
    with pytest.raises(TapeError, match=r"cannot run \(.*raises.py\): ZeroDivisionError"):
        check_own_function(f"{tmp_path}/raises.py:f")
    with pytest.raises(UsageError, match=r"its name does not end in .py"):
        check_own_function(f"{tmp_path}/text.txt:f")
