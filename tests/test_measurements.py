"""The measurements of classifiers run in pieces, and their tables say what they found."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import classify_seeds
import few_labels
import long_file
import pieces
import recipe

from tinygrad_gpt.data.classification import normalise, read_labelled
from tinygrad_gpt.runs.saved_model import save_model


@pytest.fixture
def arguments(tmp_path):
    save_model(tmp_path / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(tmp_path / "three.csv", 90)
    return ["--data", str(data), "--base", str(tmp_path / "base.h5"), "--out", str(tmp_path / "out"),
            "--set", "lr=0.01"]


@pytest.fixture
def counted(monkeypatch):
    """The runs that were begun."""
    begun = []
    begin = pieces.finetune_classifier
    monkeypatch.setattr(pieces, "finetune_classifier", lambda config, out: begun.append(config) or begin(config, out))
    return begun


def test_an_interval_is_student_s():
    mean, half = pieces.interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert mean == pytest.approx(0.3)
    assert half == pytest.approx(2.776 * 0.158114 / 5**0.5, rel=1e-4)
    assert pieces.with_interval([0.1]) == "10.00"
    assert pieces.with_interval([0.01, 0.03], signed=True) == "+2.00 ± 12.71"


def test_every_split_is_measured_once(arguments, counted, tmp_path, capsys):
    arguments += ["--set", "epochs=1", "--seeds"]
    classify_seeds.main([*arguments, "1"])
    classify_seeds.main([*arguments, "1,2"])  # the first is there
    assert [(config.split_seed, config.epochs, config.lr) for config in counted] == [(1, 1, 0.01), (2, 1, 0.01)]
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    rows = capsys.readouterr().out.splitlines()[-6:]
    mean = sum(line["figures"]["test"]["accuracy"] for line in lines) / 2
    assert rows[-3].startswith(f"| mean, 95 % interval | {100 * mean:.2f} ± ")
    assert not (tmp_path / "out" / "split-1").exists()


def test_a_teacher_is_finetuned_on_each_split(arguments, counted, tmp_path, capsys):
    arguments += ["--set", "epochs=1", "--set", "recombined=20", "--teacher-base", str(tmp_path / "base.h5")]
    classify_seeds.main([*arguments, "--seeds", "3,4"])
    assert [(config.split_seed, config.epochs, len(config.teachers)) for config in counted] == [
        (3, 4, 0), (3, 1, 2), (4, 4, 0), (4, 1, 2)]
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    taught = pieces.with_interval([line["figures"]["teacher"]["accuracy"] for line in lines])
    assert f"The teacher: accuracy {taught} %." in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.md", "results.jsonl"]


def test_choices_are_measured_against_the_baseline_of_their_split(arguments, tmp_path, capsys):
    arguments += ["--seeds", "1,2", "--only", "decay", "--set", "epochs=1", "--set", "read=mean"]
    recipe.main(arguments)
    recipe.main(arguments)
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [(line["key"]["seed"], line["key"]["choice"]) for line in lines] == [
        (1, "baseline"), (1, "layer decay 0.8"), (2, "baseline"), (2, "layer decay 0.8")]
    gains = [b["figures"]["accuracy"] - a["figures"]["accuracy"] for a, b in (lines[:2], lines[2:])]
    row = capsys.readouterr().out.splitlines()[3]
    assert row.startswith("| layer decay 0.8 | 2 | ")
    assert f" {pieces.with_interval(gains, signed=True)} " in row


def test_few_labels_are_drawn_without_the_test_texts(arguments, counted, tmp_path):
    arguments += ["--sizes", "20,40", "--draws", "1", "--unlabelled", "--pretrain-epochs", "1", "--set", "epochs=2"]
    few_labels.main(arguments)
    few_labels.main(arguments)
    assert len(counted) == 2
    parts = {}
    for size in (20, 40):
        folder = tmp_path / "out" / f"{size}-0"
        for name in ("labelled", "test", "unlabelled"):
            lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
            parts[name, size] = {normalise(line["text"]) for line in lines}
            assert all(("label" in line) == (name != "unlabelled") for line in lines)
        assert not parts["test", size] & (parts["labelled", size] | parts["unlabelled", size])
    assert parts["labelled", 20] < parts["labelled", 40]
    assert [len(parts["labelled", size]) for size in (20, 40)] == [20, 40]
    report = (tmp_path / "out" / "report.md").read_text().splitlines()
    assert [row.split(" | ")[0] for row in report[2:4]] == ["| 20", "| 40"]


def test_few_labels_are_taught_by_another_base_and_a_bag_of_words(arguments, counted, tmp_path):
    arguments += ["--sizes", "30", "--draws", "1", "--unlabelled", "--set", "epochs=2"]
    few_labels.main([*arguments, "--teacher-base", str(tmp_path / "base.h5")])
    teacher, taught = counted
    assert (teacher.teachers, teacher.unlabelled, teacher.epochs) == ((), None, few_labels.epochs_for(30, 16))
    assert (taught.data, taught.test, taught.epochs) == (teacher.data, teacher.test, 2)
    assert taught.teachers == (str(tmp_path / "out" / "30-0" / "run-teacher"), "bag-of-words")
    assert taught.unlabelled == str(tmp_path / "out" / "30-0" / "unlabelled.jsonl")
    heading, _, row = (tmp_path / "out" / "report.md").read_text().splitlines()[:3]
    figures = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[1])["figures"]
    cells = dict(zip(heading.split(" | "), row.split(" | "), strict=True))
    assert cells["teacher: accuracy, %"] == pieces.with_interval([figures["teacher accuracy"]])


def test_frozen_vectors_are_means_over_the_text(tmp_path):
    saved = tiny.language_model()
    together = few_labels.mean_states(saved, ["ski ice", "bug loop test stack"])
    alone = few_labels.mean_states(saved, ["ski ice"])
    ids = [[saved.tokenizer.eot_id, *saved.tokenizer.encode("ski ice")]]
    expected = saved.model.ln_f(saved.model.hidden(np.array(ids))).numpy()[0].mean(axis=0)
    np.testing.assert_allclose(together[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone[0], expected, rtol=1e-4, atol=1e-5)


def test_draws_differ_and_are_repeatable(arguments):
    data = read_labelled(arguments[1])
    first, again, other = (few_labels.draw_texts(data, draw, 10)[0].tolist() for draw in (1, 1, 2))
    assert first == again != other


def test_a_typed_setting_has_its_type(tmp_path):
    typed = ("extra=folder/messages.tsv", "base=some.folder", "hide=0.1", "pretrain_epochs=4", "lr=5e-4",
             "no_start=true", "context=64")
    options = argparse.Namespace(data=tmp_path / "texts.csv", text_column=None, label_column=None, encoding="utf-8",
                                 base="storyteller", set=typed)
    config = pieces.config_of(options)
    assert (config.extra, config.base, config.context) == ("folder/messages.tsv", "some.folder", "64")
    assert (config.hide, config.pretrain_epochs, config.lr, config.no_start) == (0.1, 4, 5e-4, True)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process")
def test_a_long_file_is_killed_and_gone_on_with(tmp_path, capsys):
    long_file.main(["--data", str(tiny.labelled_file(tmp_path / "three.csv")), "--rows", "20000"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| 20,000 | "))
    _, _, rate, before, after, lines, lost = row.strip("| ").split(" | ")
    assert int(rate.replace(",", "")) > 0
    assert 10 < float(before) < 1000
    assert 10 < float(after) < 1000
    assert 256 <= int(lines.replace(",", "")) < 20_000
    assert lost == "0"


def test_a_command_that_ends_before_it_is_killed_is_told(tmp_path):
    with pytest.raises(SystemExit, match="exit code 1"):
        long_file.classify(tmp_path, until=10**6)  # there is no model
