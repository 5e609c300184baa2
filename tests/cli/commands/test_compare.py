"""The command `compare`."""

import pytest

from tinygrad_gpt.cli import main

TEXT = ("--text", "Once upon a time")


def compare(capsys, *arguments):
    code = main(["compare", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("runs", [("fast", "plain"), ("float32", "float64"), ("composed,float32", "fast"),
                                  ("numpy,plain", "composed")])
def test_runs_that_differ_by_rounding(capsys, runs):
    code, out, err = compare(capsys, *runs, *TEXT)
    assert (code, err) == (0, "")
    assert out.endswith("no step differs\n")


@pytest.mark.parametrize("model", ["storyteller", "sms-spam"])
@pytest.mark.parametrize("runs", [("torch", "fast"), ("plain", "torch")])
def test_torch(capsys, runs, model):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    code, out, err = compare(capsys, *runs, *TEXT, "--model", model)
    assert (code, err) == (0, "")
    assert out.endswith("no step differs\n")


def test_a_saved_tape(capsys, tmp_path):
    file = str(tmp_path / "step.h5")
    assert main(["tape", *TEXT, "--save", file]) == 0
    assert capsys.readouterr().err == f"values and gradients written to {file}\n"
    assert compare(capsys, file, "plain", *TEXT)[0] == 0
    assert compare(capsys, file, file)[0] == 0
    code, out, err = compare(capsys, file, "plain", "--text", "Once under a time")
    assert (code, err) == (1, "")
    assert "first value that differs: step 100, embedding in wte" in out


@pytest.mark.parametrize(("arguments", "said"), [
    (("fst", "plain", *TEXT), "cannot compare (fst): neither a file nor a kind of run; use composed"),
    (("fast,plain", "plain", *TEXT), "cannot compare (fast,plain)"),
    (("fast", "plain"), "arguments (arguments): there is no text to read; give --text"),
    (("fast", "plain", "--model", "storyteller"), "--model (arguments): there is no text to read; give --text"),
])
def test_bad_arguments(capsys, arguments, said):
    code, out, err = compare(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
