"""`finetune instructions`: what it prints, resuming, stopping, and the tokens that count."""

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

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import load_model

REPOSITORY = Path(__file__).resolve().parents[3]


def test_a_run_says_what_it_did_and_how_to_use_it(args, tmp_path, capsys):
    run = tmp_path / "run"
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


def test_a_run_is_resumed_and_not_overwritten(args, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(args) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert main(args) == 2
    assert "a run is already there" in capsys.readouterr().err
    assert main(["finetune", "instructions", "--resume", "--out", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == first


def test_the_mask_is_readable_without_colour(args, tmp_path, capsys):
    assert main([*args, "--show-mask", "2", "--loss-on", "response"]) == 0
    out, err = capsys.readouterr()
    assert (err, (tmp_path / "run").exists()) == ("", False)
    first = json.loads(Path(args[3]).read_text())[0]
    heading, *text = out.split("\n--- entry 2: ")[0].splitlines()
    assert re.fullmatch(r"--- entry 1: (\d+) of (\d+) tokens count(, \d+ of padding follow)?", heading)
    assert len(re.findall(r"count, \d+ of padding follow$", out, re.MULTILINE)) == 1  # one entry has an input
    joined = "\n".join(text).replace("|", "")  # the marks of the style are left out as well
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
