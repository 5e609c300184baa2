"""`pretrain`: options, progress, stopping and resuming."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.cli.pretrain import command
from tinygrad_gpt.recipes.pretrain import PretrainConfig
from tinygrad_gpt.recipes.saved import load_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def args(tmp_path):
    text = str(tiny.text_file(tmp_path / "a.txt"))
    sizes = ["--vocab-size", "280", "--n-ctx", "8", "--n-embd", "16", "--n-layer", "1", "--n-head", "2"]
    return ["pretrain", "--data", text, *sizes, "--batch-size", "4", "--steps", "12", "--save-every", "6",
            "--out", str(tmp_path / "run")]


def test_every_field_of_the_config_is_an_option_with_its_default():
    common = {field.name for field in dataclasses.fields(Settings)}
    options = {param.name: param for param in command.params if param.name not in common | {"out", "resume"}}
    fields = {field.name: field for field in dataclasses.fields(PretrainConfig)}
    assert set(options) == set(fields)
    for name, field in fields.items():
        if name not in ("data", "validation"):
            assert options[name].to_info_dict()["default"] == field.default, name
    assert options["data"].multiple
    assert options["validation"].multiple


def test_a_run_says_what_it_did_and_how_to_use_it(args, tmp_path, capsys):
    text = args[2]
    assert main([*args, "--validation", text, "--data", text], program="python cli.py") == 0
    out, err = capsys.readouterr()
    seen, bits, written, use = out.splitlines()
    provenance = load_model(tmp_path / "run").provenance
    assert provenance["config"]["data"] == ["a.txt", "a.txt"]
    assert seen == f"384 tokens seen, of {provenance['tokens_in_data']:,} in the data"
    assert bits == f"{provenance['bits_per_byte']:.4f} bits per byte on the validation text"
    assert all((tmp_path / "run" / name).is_file() for name in written.split(": ")[1].split(", "))
    assert use == f"Use it: python cli.py finetune classifier --base {tmp_path / 'run'} --data FILE --out DIR"
    first, last = err.splitlines()
    assert first.startswith("step 6 of 12: loss ")
    assert "bits per byte " in first
    assert last.startswith("step 12 of 12: loss ")


def test_without_validation_text_only_the_end_is_reported(args, capsys):
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert "bits per byte" not in out
    assert len(err.splitlines()) == 1


def test_resuming_and_refusing(args, tmp_path, capsys):
    assert main([*args, "--resume"]) == 1
    assert "state.h5" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(args) == 0
    before = (tmp_path / "run" / "model.h5").read_bytes()
    capsys.readouterr()
    assert main(args) == 2
    assert capsys.readouterr().err.endswith("a run is already there; resume it or choose another folder\n")
    assert main([*args, "--resume"]) == 0
    assert (tmp_path / "run" / "model.h5").read_bytes() == before
    assert main([*args, "--resume", "--lr", "0.5"]) == 1
    assert "the run there had other settings" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_saves_and_says_how_to_go_on(number, code, args, tmp_path):
    long = [*args, "--steps", "1000000", "--save-every", "1000000"]
    process = subprocess.Popen([sys.executable, "cli.py", *long], cwd=REPOSITORY, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    log = tmp_path / "run" / "log.jsonl"
    while not (log.is_file() and log.read_bytes().count(b"\n") > 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    line, = err.decode().splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"the state is saved in {tmp_path / 'run'}; add --resume to the same command to go on")
    assert {path.name for path in log.parent.iterdir()} == {"log.jsonl", "state.h5", "vocabulary.json"}
