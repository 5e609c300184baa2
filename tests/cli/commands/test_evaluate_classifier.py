"""`evaluate classifier`: what it prints."""

import json

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands.evaluate_classifier import command
from tinygrad_gpt.cli.show import LARGEST_MATRIX, report_text
from tinygrad_gpt.figures.classification import judge
from tinygrad_gpt.recipes.classification.evaluate import PARTS, evaluate
from tinygrad_gpt.runs.saved_model import load_model


@pytest.fixture
def data(tmp_path):
    return str(tiny.labelled_file(tmp_path / "three.csv"))


@pytest.fixture
def result(data, model):
    from tinygrad_gpt.data.classification import read_labelled

    return evaluate(load_model(model), read_labelled(data))


def test_the_report_is_printed(model, data, result, capsys):
    assert main(["evaluate", "--model", model, "--data", data]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "61 lines read, 60 records, 0 skipped (1 header); all 60 judged"
    assert lines[1].endswith("texts truncated to 15 tokens")
    low, high = result.report.accuracy_interval
    assert lines[3] == (f"accuracy {result.report.accuracy:.4f} ({low:.4f} to {high:.4f}) on 60 texts; "
                        "always the commonest class: 0.3333")
    assert f"log loss {result.report.log_loss:.4f}, calibration error {result.report.calibration_error:.4f}" in lines[4]
    table = [line.split() for line in lines[6:10]]
    assert table[0] == ["class", "texts", "predicted", "precision", "recall", "F1"]
    for row, figures in zip(table[1:], result.report.classes, strict=True):
        assert row == [figures.label, str(figures.count), str(figures.predicted), f"{figures.precision:.4f}",
                       f"{figures.recall:.4f}", f"{figures.f1:.4f}"]
    matrix = [line.split() for line in lines[12:15]]
    assert [[int(n) for n in row[1:]] for row in matrix] == result.report.confusion
    assert err == ""


def test_errors_are_listed_with_the_surest_first(model, data, result, capsys):
    assert main(["evaluate", "--model", model, "--data", data, "--errors", "2"]) == 0
    *_, title, header, first, second = capsys.readouterr().out.splitlines()
    assert title == f"2 of {len(result.mistakes)} wrong answers, the surest first"
    assert header.split() == ["said", "p", "label", "text"]
    for line, mistake in zip((first, second), result.mistakes, strict=False):
        assert line.split()[:3] == [mistake.predicted, f"{mistake.probability:.3f}", mistake.label]
        assert line.endswith(f"  {mistake.text}")


def test_json_is_one_object(model, data, result, capsys):
    assert main(["evaluate", "--model", model, "--data", data, "--json", "--errors", "1"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert set(out) == {"counts", "part", "truncated", "report", "mistakes", "unsure", "sure_accuracy", "caution"}
    assert out["report"] == json.loads(json.dumps(result.report.to_dict()))
    assert [mistake["text"] for mistake in out["mistakes"]] == [result.mistakes[0].text]
    assert main(["evaluate", "--model", model, "--data", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mistakes"] == []


def test_a_part_of_the_split(model, data, capsys):
    sizes = {}
    for part in PARTS:
        assert main(["evaluate", "--model", model, "--data", data, "--json", "--part", part]) == 0
        sizes[part] = json.loads(capsys.readouterr().out)["report"]["count"]
    assert sizes == {"all": 60, "train": 42, "validation": 6, "test": 12}


def test_the_parts_are_those_of_the_recipe():
    option, = (param for param in command.params if param.name == "part")
    assert tuple(option.type.choices) == PARTS


def test_many_classes_show_their_commonest_confusions():
    import numpy as np

    n = LARGEST_MATRIX + 1
    labels = np.repeat(np.arange(n), 2)
    probabilities = np.eye(n, dtype=np.float32)[labels]
    probabilities[0] = probabilities[1] = np.eye(n)[4]
    probabilities[2] = np.eye(n)[0]
    text = report_text(judge(probabilities, labels, [f"class-{i}" for i in range(n)]))
    assert [line.split() for line in text.splitlines()[-3:]] == [
        ["true", "predicted", "texts"], ["class-0", "class-4", "2"], ["class-1", "class-0", "1"]]
