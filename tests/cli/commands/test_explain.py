"""The command `explain`."""

import json

import pytest

from tinygrad_gpt.cli import main

ENTRY = "h.1.attn.c_proj.weight[5,7]"


def explain(capsys, *arguments):
    code = main(["explain", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_text(capsys):
    code, out, err = explain(capsys, ENTRY, "--text", "Once upon a time")
    assert (code, err) == (0, "")
    assert out.startswith("∂loss/∂h.1.attn.c_proj.weight[5, 7] = ")
    assert "by central differences" in out
    assert "ops/matmul.py" in out


def test_json_has_shares_and_agrees_with_differences(capsys):
    code, out, _ = explain(capsys, ENTRY, "--text", "Once upon a time", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["numeric"] == pytest.approx(found["analytic"], rel=1e-7)
    assert found["error"] == abs(found["analytic"] - found["numeric"]) / max(
        abs(found["analytic"]), abs(found["numeric"]))
    assert found["flows"][-1]["amount"] == pytest.approx(found["analytic"], rel=1e-6)
    if found["torch"] is not None:
        assert found["torch"] == pytest.approx(found["analytic"], rel=1e-9)


def test_a_classifier_and_its_label(capsys):
    ham, spam = (json.loads(explain(capsys, "score.bias[0]", "--model", "sms-spam", "--text", "hi", "--json", "--label",
                                    label)[1]) for label in ("ham", "spam"))
    assert ham["analytic"] == pytest.approx(spam["analytic"] - 1, abs=1e-6)  # softmax minus one-hot


def test_what_is_left_out_is_noted(capsys):
    code, _, err = explain(capsys, "ln_f.bias[0]", "--text", "word " * 600)
    assert code == 0
    assert err.startswith("the text is longer than the 512 tokens that the model reads; the last ")


@pytest.mark.parametrize(("arguments", "said"), [
    (("h.0.mlp.fc.weight[0,0]", "--text", "hi"), "did you mean h.0.mlp.c_fc.weight"),
    (("wte.weight[9999,0]", "--text", "hi"), "index 9999,0 (wte.weight): its shape is (4096, 192)"),
    ((ENTRY,), "there is no text to read"),
    ((ENTRY, "--text", "hi", "--label", "spam"), "the model is a language model and has no labels"),
])
def test_bad_arguments(capsys, arguments, said):
    code, out, err = explain(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
