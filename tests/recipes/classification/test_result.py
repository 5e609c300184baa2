"""What a finetuning found."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.figures.classification import judge
from tinygrad_gpt.recipes.classification.calibration import Calibration
from tinygrad_gpt.recipes.classification.result import FinetuneResult, write_report


def figures(right):
    """A report on ten texts of which so many are answered rightly."""
    labels = np.arange(10) % 2
    answers = np.where(np.arange(10) < right, labels, 1 - labels)
    return judge(np.eye(2)[answers], labels, ("a", "b"))


def result(model, baseline):
    saved = tiny.classifier(("a", "b"))
    report = figures(model)
    return FinetuneResult(saved, "10 lines read", 5, report, report, report, baseline and figures(baseline), 0, "",
                          Calibration(1.0, 0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize(("model", "baseline", "verdict"), [
    (7, 9, "a bag of words is better on the test texts: accuracy 0.9000, this model 0.7000"), (9, 7, ""), (7, 7, ""),
    (7, None, ""),
])
def test_the_report_begins_with_what_is_better(model, baseline, verdict, tmp_path):
    write_report(tmp_path / "report.json", result(model, baseline))
    report = json.loads((tmp_path / "report.json").read_text())
    assert next(iter(report)) == "verdict"
    assert report["verdict"] == verdict
    assert SimpleNamespace(**report).test["count"] == 10
