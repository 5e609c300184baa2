"""What a finetuning run found, and its report."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tinygrad_gpt.figures.classification import Report
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.classification.calibration import Calibration
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["FinetuneResult", "write_report"]


@dataclass(frozen=True)
class FinetuneResult:
    """The finished run.

    Args:
        saved: the model.
        counts: one line that reconciles the rows of the data file, the split and what was left out.
        trained: how many numbers were trained.
        training, validation, test: figures on the three parts; a `LabelsReport` each where a text may have any
            number of labels.
        baseline: figures of a bag of words on the test part, None without scikit-learn.
        truncated: texts of the file whose end was not read.
        caution: why new texts will fare worse than the test texts, in one line; empty if nothing speaks for it.
        calibration: what the temperature did, which is in the model's head; None where a text may have any number of
            labels.
    """

    saved: SavedModel
    counts: str
    trained: int
    training: Report
    validation: Report
    test: Report
    baseline: Report | None
    truncated: int
    caution: str
    calibration: Calibration | None

    @property
    def verdict(self) -> str:
        """Where a bag of words does better on the test texts, a line that says so; else empty."""
        if self.baseline is None or self.baseline.accuracy <= self.test.accuracy:
            return ""
        return (f"a bag of words is better on the test texts: accuracy {self.baseline.accuracy:.4f}, this model "
                f"{self.test.accuracy:.4f}")


def write_report(file: Path, result: FinetuneResult) -> None:
    """Write report.json: all figures, the verdict first."""
    names = result.saved.labels
    figures = {"verdict": result.verdict, "counts": result.counts, "caution": result.caution, "classes": names,
               "truncated": result.truncated, "trained": result.trained,
               "training": result.training.to_dict(), "validation": result.validation.to_dict(),
               "test": result.test.to_dict(), "calibration": result.calibration and asdict(result.calibration),
               "bag_of_words": result.baseline.to_dict() if result.baseline else None,
               "provenance": result.saved.provenance}
    write_atomic(file, json.dumps(figures, indent=1).encode())
