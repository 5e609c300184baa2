"""`finetune classifier`: options, progress, the summary, and stopping."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands.finetune_classifier import command
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.recipes.classification.config import CHOICES, FinetuneConfig

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def args(models, tmp_path):
    data = tiny.labelled_file(tmp_path / "three.csv")
    return ["finetune", "classifier", "--data", str(data), "--base", str(models / "language.h5"), "--epochs", "2",
            "--lr", "0.01", "--batch-size", "16", "--out", str(tmp_path / "run")]


def test_every_field_of_the_config_is_an_option_with_its_default():
    common = {field.name for field in dataclasses.fields(Settings)}
    options = {param.name: param for param in command.params if param.name not in common | {"out", "resume", "budget"}}
    fields = {field.name: field for field in dataclasses.fields(FinetuneConfig)}
    assert set(options) == set(fields)
    for name, field in fields.items():
        if name != "data":
            assert options[name].to_info_dict()["default"] == field.default, name
    for name, choices in CHOICES.items():
        assert tuple(options[name].type.choices) == choices, name


def test_a_run_with_teachers_goes_on_with_the_same_ones_only(args, tmp_path, capsys):
    assert main(args) == 0
    first, second = str(tmp_path / "run"), str(tmp_path / "second")
    taught = [*args[:-1], second, "--teacher", first, "--teacher", "bag-of-words", "--recombined", "25"]
    capsys.readouterr()
    assert main(taught) == 0
    assert "; 25 texts without labels, from the teachers" in capsys.readouterr().out
    assert main(["finetune", "classifier", "--resume", "--out", second, "--teacher", first]) == 2
    error = capsys.readouterr().err  # which shortens the paths
    assert "teachers is /" in error
    assert ", bag-of-words; leave it out" in error
    assert main(["finetune", "classifier", "--resume", "--out", second]) == 0
    assert main([*args[:-1], str(tmp_path / "third"), "--recombined", "25"]) == 2
    assert "recombined texts have no labels of their own; give a teacher" in capsys.readouterr().err


def test_a_run_says_what_it_did_and_how_to_use_it(args, tmp_path, capsys):
    assert main(args, program="python cli.py") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    run = tmp_path / "run"
    report = json.loads((run / "report.json").read_text())
    verdict = [report["verdict"]] if report["verdict"] else []  # of a bag of words that is better
    assert lines[:len(verdict) + 1] == [*verdict, report["counts"]]
    assert lines[len(verdict) + 1] == f"{report['truncated']} texts truncated to 15 tokens"
    assert lines.index("Validation") < lines.index("Test")
    assert f"accuracy {report['test']['accuracy']:.4f}" in lines[lines.index("Test") + 1]
    assert any(line.startswith("A bag of words with logistic regression on the same test texts: accuracy ")
               for line in lines)
    assert lines[-2] == f"Written to {run}: model.h5, report.json, log.jsonl, curves.png, confusion.png"
    assert lines[-1] == f"Use it: python cli.py classify --model {run} TEXT"
    assert all((run / name).is_file() for name in lines[-2].split(": ")[1].split(", "))
    epochs = err.splitlines()  # not a terminal: a line per epoch
    assert [line.split(":")[0] for line in epochs] == ["step 3 of 6", "step 6 of 6"]
    assert all(part in epochs[0] for part in ("loss ", "validation accuracy ", " tokens/s", " s left"))
    assert main(["classify", "--model", str(run), "ski"]) == 0
    assert main(args) == 2
    assert "a run is already there; resume it or choose another folder" in capsys.readouterr().err


def test_a_budget_says_what_it_tried(args, tmp_path, capsys):
    args = args[:6] + args[-2:]  # without settings that no trial could change
    assert main([*args, "--epochs", "2", "--read", "mean", "--no-causal-mask", "--lr", "0.01", "--lm-weight", "0",
                 "--budget", "2m"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (lines[0] == report["verdict"]) == bool(report["verdict"])
    table = lines[1 if report["verdict"] else 0:][:7]
    tried = ["mean of all tokens, no causal mask", "the same, pretrained on the texts",
             "the same, rates that fall with depth", "mean of all tokens, averaged weights"]
    assert [line.split("  ")[0] for line in table[:6]] == ["tried", "bag of words, logistic regression", *tried]
    assert [line.endswith("kept") for line in table].count(True) == 1
    assert table[6].endswith(" of 120 seconds spent")
    assert report["validation"]["accuracy"] == max(trial["accuracy"] for trial in report["budget"]["trials"])
    assert [line.split(", 2 epochs")[0] for line in err.splitlines() if "validation accuracy" in line][:4] == tried
    assert main(["finetune", "classifier", "--resume", "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == lines[-1]


def test_options_reach_the_run(args, tmp_path, capsys):
    assert main([*args, "--float16", "--train", "head", "--dropout", "0", "--lm-weight", "0", "--epochs", "1"]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    config = report["provenance"]["config"]
    assert (config["float16"], config["train"], config["dropout"], config["lm_weight"], config["lr"]) == (
        True, "head", 0, 0, 0.01)


def test_what_flatters_the_model_is_a_note(args, tmp_path, capsys):
    rows = [f"{label}\t{text}\n" for text, label in tiny.texts(30, ("snow", "sun"))]
    (tmp_path / "three.tsv").write_text("".join(rows * 2))
    assert main([*args, "--data", str(tmp_path / "three.tsv"), "--split", "book", "--epochs", "1"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith("new texts will fare worse than the test texts: ")
    assert "new texts" not in out


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])  # SIGINT, SIGTERM, SIGHUP
def test_a_stopped_run_saves_and_its_last_line_says_how_to_go_on(number, code, args, tmp_path):
    args = [*args, "--epochs", "6"]
    process = subprocess.Popen([sys.executable, "cli.py", *args], cwd=REPOSITORY,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run = tmp_path / "run"
    wait_for(run / "log.jsonl", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    last = err.decode().splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith(f"go on with: python cli.py finetune classifier --resume --out {run}")
    assert b"Traceback" not in err
    assert not (run / "model.h5").exists()
    assert main(["finetune", "classifier", "--resume", "--out", str(run)]) == 0
    assert len((run / "log.jsonl").read_text().splitlines()) == 6 * 3


def test_resuming_and_refusing(args, tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*args, "--resume"]) == 2
    assert "no run was started there" in capsys.readouterr().err
    assert main(args) == 0
    written = capsys.readouterr().out
    before = (run / "model.h5").read_bytes()
    assert main(["finetune", "classifier", "--resume", "--out", str(run)]) == 0
    assert capsys.readouterr().out == written
    assert (run / "model.h5").read_bytes() == before
    for option, value, why in (("--lr", "0.5", "lr is 0.5, but the run has 0.01"),
                               ("--data", "other.csv", "data is other.csv, but"), ("--base", "gpt2", "base is gpt2")):
        assert main(["finetune", "classifier", "--resume", "--out", str(run), option, value]) == 2
        assert why in capsys.readouterr().err
    assert main(["finetune", "classifier", "--out", str(tmp_path / "other")]) == 2
    assert "Missing option '--data'" in capsys.readouterr().err


def wait_for(path, process):
    """Until the file has a line in it."""
    while not (path.is_file() and path.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
def test_a_terminal_sees_a_bar(args):
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 150))
    process = subprocess.Popen([sys.executable, "cli.py", *args], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 65536):
            seen += data
    except OSError:  # Linux's way to say that the other end is closed
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"6/6" in seen
    assert b"validation accuracy" in seen
    assert b"Use it: " in out


def test_several_labels_from_the_command_line(models, tmp_path, capsys):
    rows = [(text, f"{label};odd" if i % 2 else label) for i, (text, label) in enumerate(tiny.texts(60))]
    data, run, out = tmp_path / "a.csv", tmp_path / "run", tmp_path / "out.csv"
    data.write_text("text,label\n" + "".join(f"{text},{labels}\n" for text, labels in rows))
    assert main(["finetune", "classifier", "--data", str(data), "--base", str(models / "language.h5"), "--epochs", "2",
                 "--label-separator", ";", "--classes", "odd,sun,snow,code", "--out", str(run)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("F1 ") >= 3
    assert "all labels right: " in shown
    assert "threshold" in shown
    assert shown.splitlines()[-2].endswith("report.json, log.jsonl, curves.png")
    assert main(["evaluate", "--model", str(run), "--data", str(data), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert [figures["label"] for figures in report["classes"]] == ["odd", "sun", "snow", "code"]
    assert {"f1", "f1_micro"} <= report.keys()
    assert main(["evaluate", "--model", str(run), "--data", str(data), "--label-separator", ";", "--errors", "2"]) == 0
    assert "wrong answers, the surest first" in capsys.readouterr().out
    assert main(["classify", "--model", str(run), "ski ice", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["probabilities"]) == ["odd", "sun", "snow", "code"]
    assert answer["label"] == "; ".join(answer["labels"])
    assert main(["classify", "--model", str(run), "--file", str(data), "--output", str(out)]) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "text,label,p(odd),p(sun),p(snow),p(code)"
    assert len(lines) == 61
    capsys.readouterr()
    assert main(["classify", "--model", str(run), "ski", "--explain"]) == 2
    assert "reasons are for one" in capsys.readouterr().err
    finetune = ["finetune", "classifier", "--data", str(data), "--base", str(models / "language.h5"),
                "--label-separator", ";", "--out", str(tmp_path / "other")]
    for args in (["classify", "--model", str(run), "ski"], ["evaluate", "--model", str(run), "--data", str(data)],
                 finetune):
        assert main([*args, "--unsure-below", "0.9"]) == 2
        assert "--unsure-below is 0.9, but the model gives a text any number of labels" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_column_for_each_label_is_given_more_than_once(models, tmp_path, capsys):
    data, run = tmp_path / "a.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps({"text": text, "sun": label == "sun", "other": label != "sun"}) + "\n"
                            for text, label in tiny.texts(40)))
    args = ["finetune", "classifier", "--data", str(data), "--base", str(models / "language.h5"), "--epochs", "1",
            "--label-column", "sun", "--label-column", "other", "--out", str(run)]
    assert main(args) == 0
    assert json.loads((run / "config.json").read_text())["run"]["config"]["label_column"] == ["sun", "other"]
    assert main([*args, "--resume"]) == 0
    capsys.readouterr()
    assert main(["finetune", "classifier", "--resume", "--label-column", "sun", "--out", str(run)]) == 2
    assert "--label-column is sun, but the run has sun, other" in capsys.readouterr().err
    assert main(["evaluate", "--model", str(run), "--data", str(data)]) == 0
    assert "of the labels" in capsys.readouterr().out
