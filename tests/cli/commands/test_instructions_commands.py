"""`finetune instructions`, `finetune preferences`, `respond`, `chat`, `evaluate instructions`."""

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands import finetune_instructions, finetune_preferences
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.recipes.instructions.config import CHOICES
from tinygrad_gpt.recipes.instructions.instruct import INSTRUCT_CHOICES, InstructConfig
from tinygrad_gpt.recipes.instructions.preferences import PREFERENCE_CHOICES, PreferenceConfig
from tinygrad_gpt.runs.saved_model import load_model, save_model

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.h5"
    save_model(path, tiny.language_model(n_ctx=96))
    return str(path)


@pytest.fixture
def args(base, tmp_path):
    data = tiny.instruction_file(tmp_path / "tasks.json", chosen="Gladly: ski", rejected="No")
    return ["finetune", "instructions", "--data", str(data), "--base", base, "--style", "phi3", "--epochs", "1",
            "--out", str(tmp_path / "run"), "--samples", "1"]


@pytest.mark.parametrize(("command", "kind", "choices"), [
    (finetune_instructions.command, InstructConfig, CHOICES | INSTRUCT_CHOICES),
    (finetune_preferences.command, PreferenceConfig, CHOICES | PREFERENCE_CHOICES)])
def test_every_field_of_the_config_is_an_option_with_its_default(command, kind, choices):
    others = {field.name for field in dataclasses.fields(Settings)} | {"out", "resume", "show_mask"}
    options = {param.name: param for param in command.params if param.name not in others}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    assert set(options) == set(fields)
    for name, field in fields.items():
        if field.default is not dataclasses.MISSING:
            assert options[name].to_info_dict()["default"] == field.default, name
    for name, values in choices.items():
        assert tuple(options[name].type.choices) == values, name


def test_a_run_says_what_it_did_and_how_to_use_it(args, tmp_path, capsys):
    run, output = tmp_path / "run", tmp_path / "out.jsonl"
    assert main([*args, "--train", "lora"], program="python cli.py") == 0
    out, err = capsys.readouterr()
    lines, figures = out.splitlines(), load_model(run).provenance
    assert lines[0] == figures["counts"]
    assert f"validation loss: {figures['before']['validation_loss']:.4f} before, " in out
    assert f"{figures['after']['validation_loss']:.4f} after" in out
    written = lines[-3].split(": ")[1].split(", ")
    assert set(written) == {"model.h5", "log.jsonl", "curves.png", "samples.txt"}
    assert all((run / name).is_file() for name in written)
    assert lines[-2] == f"Use it: python cli.py respond --model {run} INSTRUCTION"
    assert err.startswith("step 3 of 3: loss ")
    assert main(args) == 2
    assert "a run is already there" in capsys.readouterr().err
    assert main(["finetune", "instructions", "--resume", "--out", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == figures["counts"]
    assert main(["respond", "--model", str(run), "Say sun", "--max-new-tokens", "3", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["prompt"] == "<|user|>\nSay sun<|end|>\n<|assistant|>\n"
    assert captured.err == ""
    assert main(["evaluate", "instructions", "--data", args[3], "--model", str(run), "--part", "test", "--output",
                 str(output), "--max-new-tokens", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 responses, ")
    assert "exact match 0.0000, ROUGE-L " in out
    assert out.endswith(f"Written to {output}\n")
    assert len(output.read_text().splitlines()) == 2
    assert main(["evaluate", "instructions", "--data", args[3], "--model", str(run), "--limit", "1", "--output",
                 str(output), "--max-new-tokens", "3", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["count"] == 1
    assert captured.err == "the model was trained on most of these entries; --part test leaves them out\n"
    assert main(["finetune", "preferences", *args[2:4], "--base", str(run), "--samples", "0", "--out",
                 str(tmp_path / "dpo")]) == 0
    assert load_model(tmp_path / "dpo").provenance["config"]["style"] == "phi3"  # as its base
    assert "training loss: 0.6931 before, " in capsys.readouterr().out


def test_the_mask_is_readable_without_colour(args, tmp_path, capsys):
    assert main([*args, "--show-mask", "2", "--loss-on", "response"]) == 0
    out, err = capsys.readouterr()
    assert (err, (tmp_path / "run").exists()) == ("", False)
    first = json.loads(Path(args[3]).read_text())[0]
    heading, *text = out.split("\n--- entry 2: ")[0].splitlines()
    assert re.fullmatch(r"--- entry 1: (\d+) of (\d+) tokens count(, \d+ of padding follow)?", heading)
    assert len(re.findall(r"count, \d+ of padding follow$", out, re.MULTILINE)) == 1  # one entry has an input
    joined = "\n".join(text).replace("|", "")  # the marks of the style lose theirs, too
    assert f"<user>\n{first['instruction']}<end>\n<assistant>\n[[{first['output']}<end><endoftext>]]" in joined
    assert "\x1b" not in out
    assert main([*args, "--show-mask", "1"]) == 0
    assert "[[" in capsys.readouterr().out.splitlines()[1]


def test_the_mask_is_green_on_a_terminal(args, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([*args, "--show-mask", "1", "--loss-on", "response"]) == 0
    out = capsys.readouterr().out
    assert "[[" not in out
    assert "\x1b[32m\x1b[1m" in out
    assert "instruction" not in click.unstyle(out).splitlines()[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert main([*args, "--show-mask", "1", "--loss-on", "response"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_model_that_was_not_tuned_is_named(base, capsys):
    assert main(["respond", "--model", base, "Say sun", "--max-new-tokens", "2", "--style", "phi3"]) == 0
    out, err = capsys.readouterr()
    assert err == "the model was not tuned on instructions; it may not answer them\n"
    assert out.endswith("\n")
    assert main(["respond", "--model", base, "Say sun", "--max-new-tokens", "2"]) == 0  # alpaca, too long for it
    assert "its beginning was not read" in capsys.readouterr().err


def test_a_conversation(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Say sun\n\n  \nSay snow\nSay code\n"))
    assert main(["chat", "--model", base, "--style", "phi3", "--max-new-tokens", "4"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    lines = err.splitlines()
    assert lines[1].startswith("the model reads 96 tokens of the conversation, 4 of which are kept for the next")
    assert [line for line in lines if line.startswith("turns that no longer fit")]


def test_a_long_response_leaves_room_for_the_conversation(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Say sun\n"))
    assert main(["chat", "--model", base, "--style", "phi3", "--max-new-tokens", "999"]) == 0
    assert "96 tokens of the conversation, 48 of which are kept for the next" in capsys.readouterr().err


def test_evaluate_means_a_classifier_where_nothing_is_named(model, tmp_path, capsys):
    data = str(tiny.labelled_file(tmp_path / "three.csv"))
    assert main(["evaluate", "--data", data, "--model", model]) == 0
    short = capsys.readouterr().out
    assert main(["evaluate", "classifier", "--data", data, "--model", model]) == 0
    assert capsys.readouterr().out == short
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    assert "classifier " in out
    assert "instructions " in out


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_stopped_run_says_how_to_go_on(args, tmp_path):
    process = subprocess.Popen([sys.executable, "cli.py", *args, "--epochs", "5000", "--save-every", "100000"],
                               cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = tmp_path / "run" / "log.jsonl"
    while not (log.is_file() and log.read_bytes().count(b"\n") > 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, b"")
    assert err.decode().splitlines()[-1].endswith(
        f"go on with: python cli.py finetune instructions --resume --out {tmp_path / 'run'}")
    assert {path.name for path in log.parent.iterdir()} >= {"config.json", "log.jsonl", "state-a.h5", "state-b.h5"}
