"""A student's gradients train a GPT-2 that then writes, the ledger checks them in a real model, and faults are said."""

import json

import pytest
import students
import tiny

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.cli import main
from tinygrad_gpt.course import exercises
from tinygrad_gpt.course.exercises import exercise
from tinygrad_gpt.course.folder import start
from tinygrad_gpt.course.gradients import own_functions, using_gradients
from tinygrad_gpt.course.solutions import right_bodies, solution, with_pullbacks
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.errors import TapeError, UsageError
from tinygrad_gpt.ops import load_compiled

EXERCISES = [each for each in exercises.EXERCISES if not each.is_layer]


@pytest.fixture
def finished(tmp_path):
    """A folder of the course in which all gradients are written."""
    folder = tmp_path / "gradients"
    start(folder, "ada")
    for each in EXERCISES:
        bodies = students.IN_ANOTHER_WAY.get(each.name) or right_bodies(each)
        (folder / each.file).write_text(with_pullbacks(each, bodies), encoding="utf-8")
    return folder


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines() if '"loss"' in line]


def test_own_gradients_train_a_model_that_writes(finished, tmp_path, capsys):
    tiny.text_file(tmp_path / "text.txt", 30)
    sizes = ["--n-ctx", "8", "--n-embd", "16", "--n-layer", "1", "--n-head", "2", "--vocab-size", "260", "--steps", "4"]
    for name, options in (("own", ["--gradients", str(finished)]), ("plain", ["--ops", "plain"])):
        assert main(["pretrain", "--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / name), *sizes,
                     *options]) == 0
    assert f"gradients of {finished}: mul, div, tanh, " in capsys.readouterr().err
    own, plain = losses(tmp_path / "own"), losses(tmp_path / "plain")
    assert own
    assert own == pytest.approx(plain, rel=1e-5)
    assert main(["generate", "a", "--model", str(tmp_path / "own"), "--max-new-tokens", "3"]) == 0


@pytest.mark.parametrize("wrong", [None, "layer_norm"])
def test_the_ledger_checks_them_on_the_storyteller(finished, capsys, wrong):
    if wrong:
        mistake = next(m for m in students.MISTAKES if m.name == wrong)
        (finished / exercise(wrong).file).write_text(students.mistaken(mistake), encoding="utf-8")
    code = main(["gradcheck", "--text", "Once upon a time", "--gradients", str(finished)])
    out = capsys.readouterr().out
    assert code == (1 if wrong else 0)
    assert ("op 'layer_norm' in h.0.ln_1: wrong gradient of 'x' (" in out) == bool(wrong)
    assert str(finished / "11_layer_norm.py") in out if wrong else "limit 1e-06: none wrong" in out


def test_the_ops_are_as_before_afterwards(finished):
    before = {name: (op.plain, op.fast) for name, op in OPS.items()}
    functions, unwritten = own_functions(finished)
    assert (len(functions), unwritten) == (len(EXERCISES), [])
    with using_gradients(functions):
        assert OPS["gelu"].function is functions["gelu"]
        assert OPS["gelu"].fast is None
    assert {name: (op.plain, op.fast) for name, op in OPS.items()} == before


def test_the_table_has_no_form_that_is_not_the_students(tmp_path, capsys):
    (tmp_path / "my.py").write_text(solution(exercise("gelu")), encoding="utf-8")
    load_compiled()
    compiled = OPS["gelu"].compiled
    with using_gradients(own_functions(tmp_path / "my.py")[0]):
        assert OPS["gelu"].available(default_backend()) == ("plain",)
    assert OPS["gelu"].compiled is compiled
    assert main(["gradcheck", "gelu", "--json", "--gradients", str(tmp_path / "my.py")]) == 0
    assert {json.loads(line)["form"] for line in capsys.readouterr().out.splitlines()} == {"plain"}


def test_a_compiled_form_that_is_imported_in_the_block_stays(tmp_path, monkeypatch):
    (tmp_path / "my.py").write_text(solution(exercise("gelu")), encoding="utf-8")
    monkeypatch.setattr(OPS["gelu"], "compiled", None)
    form = OPS["gelu"].fast
    with using_gradients(own_functions(tmp_path / "my.py")[0]):
        OPS["gelu"].compiled = form
    assert OPS["gelu"].compiled is form


def test_a_function_that_an_op_of_the_package_calls_is_named(tmp_path, capsys):
    text = solution(exercise("gelu")).replace("return g * (", "return 2 * g * (")
    (tmp_path / "my.py").write_text(text, encoding="utf-8")
    line = 1 + text.splitlines().index("    def grad_x(g):")
    assert main(["gradcheck", "--text", "Once", "--gradients", str(tmp_path / "my.py")]) == 1
    out = capsys.readouterr().out
    assert "op 'bias_gelu' in h.0.mlp: wrong gradient of 'x' (tinygrad_gpt/ops/activation.py:" in out
    assert f", which calls {tmp_path / 'my.py'}:{line}): " in out


def test_exercises_that_are_not_written_are_left_to_the_package(tmp_path):
    start(tmp_path, "ada")
    (tmp_path / exercise("gelu").file).write_text(solution(exercise("gelu")), encoding="utf-8")
    functions, unwritten = own_functions(tmp_path)
    assert list(functions) == ["gelu"]
    assert len(unwritten) == len(EXERCISES) - 1


@pytest.mark.parametrize(("text", "error", "said"), [
    ("def gelu(xp, x:\n", TapeError, r"own gradient \(.*my.py:1\): .*; mend the file"),
    ("1 / 0\n", TapeError, r"own gradient \(.*my.py:1\): ZeroDivisionError: division by zero; `course check` grades"),
    ("def glu(xp, x):\n    return x, (None,)\n", UsageError, r"--gradients \(.*my.py\): no function has the name"),
])
def test_files_without_gradients_are_refused(tmp_path, text, error, said):
    (tmp_path / "my.py").write_text(text)
    with pytest.raises(error, match=said):
        own_functions(tmp_path / "my.py")
    with pytest.raises(UsageError, match=r"--gradients \(.*none.py\): no such file"):
        own_functions(tmp_path / "none.py")


def test_another_forward_pass_is_refused(tmp_path):
    text = solution(exercise("gelu")).replace("return x * h,", "return 1.5 * x * h,")
    (tmp_path / "my.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"--gradients \(.*my.py\): gelu computes something else than the op 'gelu'"):
        own_functions(tmp_path / "my.py")


def test_a_gradient_that_fails_in_a_step_is_one_line(tmp_path, capsys):
    text = with_pullbacks(exercise("gelu"), {"grad_x": "raise ValueError('so')"})
    (tmp_path / "my.py").write_text(text, encoding="utf-8")
    assert main(["gradcheck", "--text", "Once", "--gradients", str(tmp_path / "my.py")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: own gradient ({tmp_path / 'my.py'}:")
    assert "ValueError: so; `course check` grades one exercise at a time" in error


def test_the_fast_forms_do_not_go_with_them(finished, capsys):
    assert main(["gradcheck", "--gradients", str(finished), "--ops", "fast", "gelu"]) == 2
    assert "error: --ops (fast): --gradients run with the plain forms" in capsys.readouterr().err
