"""`experiments`: options, the plan, the table and the way to go on."""

import dataclasses

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands.experiments import command
from tinygrad_gpt.recipes.experiments.experiments import ExperimentsConfig


@pytest.fixture
def args(models, tmp_path):
    (tmp_path / "two.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in tiny.texts(
        60, ("snow", "sun", "sun"))))
    return ["experiments", "--data", str(tmp_path / "two.tsv"), "--base", str(models / "language.h5"), "--rows", "3",
            "--epochs", "1", "--out", str(tmp_path / "out")]


def test_settings_are_options_with_their_defaults():
    options = {param.name: param for param in command.params}
    fields = {field.name: field.default for field in dataclasses.fields(ExperimentsConfig)}
    assert set(fields) <= set(options)
    for name in ("base", "vocabulary", "epochs", "lr"):
        assert options[name].default == fields[name]


def test_rows_are_run_reported_and_resumed(args, tmp_path, capsys):
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert "head trained  language.h5" in out
    assert "bag of words" in out
    assert "report.md, report.html" in out
    assert "run 1 of 1: row 3, head trained, seed 123" in err
    assert "validation accuracy" in err
    report = (tmp_path / "out" / "report.md").read_text()
    assert main(args) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*args, "--resume"]) == 0
    resumed, err = capsys.readouterr()
    assert (resumed, err) == (out, "")
    assert (tmp_path / "out" / "report.md").read_text() == report


def test_a_dry_run_lists_rows_and_writes_nothing(args, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert main([*args[:-2], "--rows", "1,10,13", "--vocabulary", "absent", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    header, first, random, wide, failure = out.splitlines()
    assert header.split() == ["row", "trained", "memory", "tokens", "a", "text", "model", "name"]
    assert first.split() == ["1", "3,346", "0", "MB", "8", "language.h5", "last-block"]
    assert random.split() == ["10", "–", "–", "–", "random", "random"]
    assert wide.split()[4] == "16"
    assert failure.startswith("Row 10 cannot be run: cannot load")
    assert sorted(tmp_path.iterdir()) == before


def test_a_row_that_cannot_be_run_is_in_the_report_and_in_the_code(args, tmp_path, capsys):
    assert main([*args, "--rows", "3,10", "--vocabulary", str(tmp_path / "absent.h5")]) == 1
    out, err = capsys.readouterr()
    assert "not run" in out
    assert "head trained" in out
    assert err.splitlines()[-1].startswith("error: cannot load")
    assert "absent.h5" in (tmp_path / "out" / "report.html").read_text()
