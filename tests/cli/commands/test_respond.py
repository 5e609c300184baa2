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


def test_a_vote_prints_one_response_and_the_share_that_agrees(tuned, capsys):
    asked = ["respond", "--model", tuned, "Say sun", "--max-new-tokens", "2", "--temperature", "1"]
    assert main([*asked, "--votes", "4"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "of 4 responses give this answer" in err
    assert main([*asked, "--votes", "4", "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered["text"] == out.strip()
    assert sum(answered["answers"].values()) == 4
    assert answered["score"] == answered["answers"][answered["answer"]] / 4


def test_the_best_of_several_is_the_likeliest(tuned, capsys):
    asked = ["respond", "--model", tuned, "Say sun", "--max-new-tokens", "2", "--temperature", "1", "--json"]
    assert main([*asked, "--best-of", "4"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered["score"] == sum(answered["logprobs"]) / len(answered["logprobs"])


def test_votes_need_a_temperature_and_exclude_best_of(tuned, capsys):
    assert main(["respond", "--model", tuned, "Say sun", "--votes", "4"]) == 2
    assert "temperature" in capsys.readouterr().err
    assert main(["respond", "--model", tuned, "Say sun", "--votes", "4", "--best-of", "2"]) == 2
    assert "both --votes and --best-of" in capsys.readouterr().err
