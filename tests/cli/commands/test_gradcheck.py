"""The command `gradcheck`: table, JSON, exit codes."""

import json

import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.engine import OPS, op
from tinygrad_gpt.study import check_forms


@pytest.fixture
def wrong():
    """An op with a wrong gradient, registered for one test."""

    @op(samples=lambda r: [(r.normal(2, 3),)])
    def wrong(xp, x):
        def grad_x(g):
            return 2 * g

        return 3 * x, (grad_x,)

    yield wrong
    OPS.pop("wrong")


@pytest.fixture
def infinite():
    """An op whose gradient is infinite, registered for one test."""

    @op(samples=lambda r: [(r.positive(2),)])
    def infinite(xp, x):
        def grad_x(g):
            return g * g * float("inf")

        return 3 * x, (grad_x,)

    yield infinite
    OPS.pop("infinite")


def test_the_table_has_a_line_per_check_and_a_verdict(capsys):
    assert main(["gradcheck", "layer_norm", "exp"]) == 0
    captured = capsys.readouterr()
    head, *rows, empty, verdict = captured.out.splitlines()
    assert head.split()[:7] == ["op", "form", "sample", "argument", "shape", "analytic", "numeric"]
    assert head.endswith("  error / max(1, Σ|terms|)")
    assert [row.split()[:4] for row in rows] == [
        [c.op, c.form, str(c.sample), c.argument] for name in ("layer_norm", "exp") for c in check_forms(name)]
    assert empty == ""
    assert verdict.startswith("2 ops in 4 forms, 4 arguments, 29 checks, worst relative error ")
    assert verdict.endswith("limit 1e-07: all passed")
    assert captured.err == ""


def test_without_names_every_op_is_checked(capsys):
    assert main(["gradcheck"]) == 0
    out = capsys.readouterr().out
    assert {line.split()[0] for line in out.splitlines()[1:-2]} == set(OPS)
    assert out.splitlines()[-1].startswith(f"{len(OPS)} ops in ")


def test_a_wrong_op_fails_and_is_marked(wrong, capsys):
    assert main(["gradcheck", "exp", "wrong"]) == 1
    captured = capsys.readouterr()
    marked = [line for line in captured.out.splitlines()[:-1] if "FAILED" in line]
    assert [line.split()[0] for line in marked] == ["wrong"]
    assert "(op wrong, plain, argument x)" in captured.out
    assert captured.out.endswith("limit 1e-07: 1 FAILED (wrong)\n")


def test_json_is_one_object_per_check(wrong, capsys):
    assert main(["gradcheck", "--json", "exp", "wrong"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["op"], row["passed"]) for row in rows] == [("exp", True), ("exp", True), ("wrong", False)]
    assert set(rows[0]) == {"op", "form", "sample", "argument", "shape", "analytic", "numeric", "error", "passed"}
    assert rows[0]["shape"] == [2, 3]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_gradient_that_is_not_finite_fails_and_stays_json(infinite, capsys):
    assert main(["gradcheck", "--json", "infinite"]) == 1
    row = json.loads(capsys.readouterr().out)
    assert (row["analytic"], row["error"], row["passed"]) == (None, None, False)


def test_the_seed_changes_the_numbers(capsys):
    outputs = []
    for seed in ("1", "1", "2"):
        assert main(["gradcheck", "exp", "--seed", seed]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(("name", "hint"), [
    ("geluu", f"not one of the {len(OPS)} ops; did you mean gelu, "),
    ("soft_max", "did you mean softmax"),
    ("zzz", "choose from abs, add, "),
])
@pytest.mark.parametrize("command", ["gradcheck", "derivatives"])
def test_an_unknown_op_gets_the_nearest_names(command, name, hint, capsys):
    assert main([command, name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: unknown op ({name}): ")
    assert hint in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("options", "forms"), [
    ([], {"plain", "fast", "compiled"}), (["--ops", "plain"], {"plain"}), (["--ops", "fast"], {"fast"}),
    (["--ops", "compiled"], {"compiled"}), (["--composed"], {"composed"})])
def test_every_form_is_checked_or_the_one_that_is_asked_for(options, forms, capsys):
    assert main(["gradcheck", "--json", "gelu", *options]) == 0
    assert {json.loads(line)["form"] for line in capsys.readouterr().out.splitlines()} == forms


def test_a_real_step_is_checked(capsys):
    assert main(["gradcheck", "--text", "Once upon a time"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("float32: 85 ops, worst relative error ")
    assert lines[-1].startswith("float64: 85 ops, worst relative error ")
    assert all(line.endswith(": none wrong") for line in (lines[0], lines[-1]))
    assert all(" of Σ|terms| (step " in line for line in (lines[0], lines[-1]))
    assert lines[1].endswith("  error / Σ|terms|")


def test_a_wrong_rule_of_a_real_step_is_named(capsys, monkeypatch):
    right = OPS["gelu"].plain.function, OPS["bias_gelu"].plain.function

    def bias_gelu(xp, x, bias, **settings):
        y, pullbacks = right[1](xp, x, bias, **settings)
        return y, (lambda g: [1.1 * part for part in pullbacks(g)]) if callable(pullbacks) else [
            (lambda g: 1.1 * pullbacks[0](g)), pullbacks[1]]

    monkeypatch.setattr(OPS["bias_gelu"].plain, "function", bias_gelu)
    assert main(["gradcheck", "--text", "Once upon a time", "--ops", "plain"]) == 1
    out = capsys.readouterr().out
    assert "float64: 85 ops, " in out
    assert "8 wrong" in out
    assert "op 'bias_gelu' in h.0.mlp: wrong gradient of 'x' (" in out


def test_a_function_in_a_file(capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def square(x):\n    return (x * x).sum()\n")
    assert main(["gradcheck", f"{tmp_path}/mine.py:square", "--shape", "4"]) == 0
    assert capsys.readouterr().out.endswith("4 entries: all right\n")


OWN = """
import numpy as np
from tinygrad_gpt import Tensor, ops

GENERATOR = np.random.default_rng(0)

def factor2(x):
    return (x * x.detach()).sum() * 1e-8

def big(x):
    return ((x + 1e6) ** 2).sum()

def hidden(x):
    return x.sum() * 1e-12 + 1e6

def masked(x):
    return (x * Tensor(GENERATOR.random(x.shape) > 0.5)).sum()
"""


@pytest.mark.parametrize(("name", "code", "verdict"), [
    ("factor2", 1, "6 entries: 6 wrong\n"),
    ("big", 0, "6 entries (1 not shown): all right\n"),
    ("hidden", 0, "6 entries: 0 wrong, 0 right, 6 not checked: too small beside the rounding of the differences\n"),
])
def test_small_gradients_and_large_values(name, code, verdict, capsys, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    assert main(["gradcheck", f"{tmp_path}/mine.py:{name}"]) == code
    out = capsys.readouterr().out
    assert out.endswith(verdict)
    assert "rel. error: |analytic − numeric| over the larger of |analytic| and |numeric|\n" in out
    passed = {"factor2": False, "big": True, "hidden": None}[name]
    assert main(["gradcheck", f"{tmp_path}/mine.py:{name}", "--json"]) == code
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["passed"] for row in rows] == [passed] * 6
    assert set(rows[0]) == {"argument", "index", "analytic", "numeric", "noise", "error", "passed"}


def test_a_random_function_is_refused_in_one_line(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    assert main(["gradcheck", f"{tmp_path}/mine.py:masked"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: gradcheck: the function is random: two calls with the same arguments differ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "said"), [
    (("gelu", "--text", "hi"), "both names and a step (--model, --text) are given"),
    (("--model", "storyteller"), "there is no text to read"),
    (("--shape", "2"), "there is no FILE:NAME whose arguments it could shape"),
    (("a.py:f", "gelu"), "several names beside FILE:NAME"),
    (("a.py:f", "--shape", "2,x"), "--shape (2,x): not whole numbers"),
    (("a.py:f",), "no such file (a.py)"),
])
def test_what_gradcheck_refuses(capsys, arguments, said):
    assert main(["gradcheck", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_json_of_a_rule_that_gives_no_number(capsys, monkeypatch):
    right = OPS["layer_norm"].plain.function

    def layer_norm(xp, *arrays, **settings):
        y, (first, *others) = right(xp, *arrays, **settings)
        return y, [lambda g: first(g) * float("nan"), *others]

    monkeypatch.setattr(OPS["layer_norm"].plain, "function", layer_norm)
    assert main(["gradcheck", "--text", "Once", "--ops", "plain", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (wrong,) = [row for row in rows if row["dtype"] == "float64" and row["error"] is None]
    assert (wrong["op"], wrong["module"], wrong["into"]["x"]) == ("layer_norm", "ln_f", None)
