"""`pretrain`: options, progress, stopping and resuming."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands.pretrain import command
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig
from tinygrad_gpt.runs.saved_model import load_model

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def args(tmp_path):
    text = str(tiny.text_file(tmp_path / "a.txt"))
    sizes = ["--vocab-size", "280", "--n-ctx", "8", "--n-embd", "16", "--n-layer", "1", "--n-head", "2"]
    return ["pretrain", "--data", text, *sizes, "--batch-size", "4", "--steps", "4", "--eval-every", "2",
            "--save-every", "100", "--out", str(tmp_path / "run")]


def test_every_field_of_the_config_is_an_option_with_its_default():
    common = {field.name for field in dataclasses.fields(Settings)}
    options = {param.name: param for param in command.params if param.name not in common | {"out", "resume"}}
    fields = {field.name: field for field in dataclasses.fields(PretrainConfig)}
    assert set(options) == set(fields)
    for name, field in fields.items():
        if name in ("data", "validation", "sample"):
            assert options[name].multiple
        else:
            assert options[name].to_info_dict()["default"] == field.default, name


def test_help_has_sections(capsys):
    assert main(["pretrain", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    sections = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert sections == ["Text:", "Vocabulary:", "Model:", "Training:", "Watching:", "Folder:", "Other options:"]
    for option in ("--data", "--base", "--recompute", "--sample", "--resume", "--threads", "--help"):
        assert sum(line.startswith(f"  {option} ") or f", {option} " in line for line in lines) == 1, option


def test_a_run_says_what_it_did_and_how_to_use_it(args, tmp_path, capsys):
    text, other = args[2], tmp_path / "other.txt"
    other.write_text("ski in the ice\n" * 30)
    assert main([*args, "--validation", str(other), "--data", text, "--sample", "a bug"], program="python cli.py") == 0
    out, err = capsys.readouterr()
    seen, figures, written, use, also = out.splitlines()
    provenance = load_model(tmp_path / "run").provenance
    assert provenance["config"]["data"] == ["a.txt", "a.txt"]
    assert seen == f"128 tokens seen, of {provenance['tokens_in_data']:,} in the data"
    assert figures == (f"Validation text: loss {provenance['validation_loss']:.4f} nats per token, perplexity "
                       f"{provenance['perplexity']:.2f}, {provenance['bits_per_byte']:.4f} bits per byte")
    assert all((tmp_path / "run" / name).is_file() for name in written.split(": ")[1].split(", "))
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert use == f"Use it: python cli.py generate --model {tmp_path / 'run'} PROMPT"
    assert also == f"        python cli.py finetune classifier --base {tmp_path / 'run'} --data FILE --out DIR"
    first, sample, last, _ = err.splitlines()
    assert first.startswith("step 2 of 4: loss ")
    for part in (", validation loss ", ", perplexity ", ", bits per byte ", " tokens/s", " left", " MB (peak "):
        assert part in first
    assert sample.startswith("step 2 wrote: a bug")
    assert last.startswith("step 4 of 4: loss ")


def test_without_validation_text_only_the_end_is_reported(args, capsys):
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert "bits per byte" not in out
    assert len(err.splitlines()) == 1


def test_early_stop_names_the_best_step(args, tmp_path, capsys):
    assert main([*args, "--hold-out", "0.2", "--patience", "1", "--lr", "1", "--eval-every", "1"]) == 0
    step = load_model(tmp_path / "run").provenance["step"]
    assert f"The best model is that after step {step}\n" in capsys.readouterr().out


def test_resuming_and_refusing(args, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*args, "--resume"]) == 2
    assert "no run was started there" in capsys.readouterr().err
    assert not folder.exists()
    assert main(args) == 0
    before = (folder / "model.h5").read_bytes()
    capsys.readouterr()
    assert main(args) == 2
    assert capsys.readouterr().err.endswith("a run is already there; resume it or choose another folder\n")
    assert main([*args, "--resume"]) == 0
    assert main(["pretrain", "--resume", "--out", str(folder)]) == 0
    assert (folder / "model.h5").read_bytes() == before
    capsys.readouterr()
    for option, value, why in (("--lr", "0.5", "lr is 0.5, but the run has 0.002"), ("--steps", "5", "steps is 5, but"),
                               ("--data", "other.txt", "data is /"), ("--base", "gpt2", "base is gpt2, but")):
        assert main(["pretrain", "--resume", "--out", str(folder), option, value]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize(("options", "why"), [
    (["--validation", "a", "--hold-out", "0.1"], "both validation files and a share to hold out"),
    (["--hold-out", "1"], "--hold-out is 1.0, expected a share from 0 to below 1"),
    (["--epochs", "1"], "both steps and epochs"),
    (["--stride", "4"], "random windows have no stride"),
    (["--min-lr", "0.1"], "--min-lr is 0.1, above lr = 0.002"),
    (["--patience", "2"], "patience without a validation text"),
    (["--sample-every", "2"], "--sample-every without a prompt in sample"),
    (["--beta2", "1"], "beta2 is 1.0, expected less than 1"),
    (["--base", "a", "--untied"], "--vocab-size and --n-embd and --n-head and --tied cannot be chosen"),
    (["--vocabulary", "a"], "--vocab-size cannot be chosen beside a vocabulary"),
    (["--dropout", "1"], "Dropout: p is 1.0"),
])
def test_settings_that_do_not_fit_together_are_refused(options, why, args, tmp_path, capsys):
    assert main([*args, *options]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])  # SIGINT, SIGTERM, SIGHUP
def test_a_stopped_run_saves_and_its_last_line_says_how_to_go_on(number, code, args, tmp_path):
    folder = tmp_path / "a run"
    long = [*args[:-1], str(folder), "--steps", "300", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "cli.py", *long], cwd=REPOSITORY, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    log = folder / "log.jsonl"
    while not (log.is_file() and log.read_bytes().count(b"\n") > 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    line, = err.decode().splitlines()
    assert line.startswith("error: ")
    steps = load_model(folder).provenance["step"]
    assert log.read_bytes().count(b"\n") == steps < 300
    go_on = line.split("the run can be resumed; go on with: ")[1]
    assert go_on == f"python cli.py pretrain --resume --out '{folder}' --threads 1"
    if number == signal.SIGTERM:
        words = shlex.split(go_on)
        done = subprocess.run([sys.executable, *words[1:]], cwd=REPOSITORY, capture_output=True, timeout=60)
        assert (done.returncode, done.stdout[:20]) == (0, b"9,600 tokens seen, o")


def rates(folder):
    return [json.loads(line)["lr"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_of_one_step_trains(args, tmp_path):
    args[args.index("--steps") + 1] = "1"
    assert main(args) == 0
    assert rates(tmp_path / "run") == [2e-3]


def test_a_run_that_is_shorter_than_the_usual_warm_up_falls_all_the_same(args, tmp_path):
    args[args.index("--steps") + 1] = "30"
    assert main(args) == 0
    found = rates(tmp_path / "run")
    assert found[:4] == pytest.approx([5e-4, 1e-3, 1.5e-3, 2e-3])
    assert found[-1] == pytest.approx(2e-4, rel=0.05)


@pytest.mark.parametrize(("warmup", "noted"), [("3", False), ("4", True), ("100", True)])
def test_a_warm_up_that_is_as_long_as_the_run_is_noted(warmup, noted, args, tmp_path, capsys):
    assert main([*args, "--warmup", warmup]) == 0
    line = (f"--warmup {warmup}: the run has 4 steps, so that the learning rate rises to the end and never falls")
    assert (line in capsys.readouterr().err.splitlines()) == noted
    assert rates(tmp_path / "run")[0] == pytest.approx(2e-3 / (int(warmup) + 1))
