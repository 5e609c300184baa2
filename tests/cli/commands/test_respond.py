"""`respond`: a response, its prompt, and notes on models that were not made for it."""

import json

from tinygrad_gpt.cli import main


def test_json_has_the_prompt_in_the_style_of_the_model(tuned, capsys):
    assert main(["respond", "--model", tuned, "Say sun", "--max-new-tokens", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["prompt"] == "<|user|>\nSay sun<|end|>\n<|assistant|>\n"
    assert err == ""


def test_a_model_that_was_not_tuned_is_named(base, capsys):
    assert main(["respond", "--model", base, "Say sun", "--max-new-tokens", "2", "--style", "phi3"]) == 0
    out, err = capsys.readouterr()
    assert err == "the model was not tuned on instructions; it may not answer them\n"
    assert out.endswith("\n")
    assert main(["respond", "--model", base, "Say sun", "--max-new-tokens", "2"]) == 0  # alpaca: a long prompt
    assert "its beginning was not read" in capsys.readouterr().err
