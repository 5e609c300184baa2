"""Four of the 77 intents of Banking77, with their own test file; docs/classification.md has the whole."""

import csv

import pytest

from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.recipes.classification.evaluate import evaluate
from tinygrad_gpt.recipes.classification.finetune import FinetuneConfig, finetune_classifier

INTENTS = ("age_limit", "atm_support", "card_arrival", "card_swallowed")


@pytest.fixture(scope="module")
def files(shared_data, tmp_path_factory):
    """The rows of these intents, of the training and of the test file."""
    folder = tmp_path_factory.mktemp("banking")
    for name in ("train.csv", "test.csv"):
        with open(shared_data / "classify" / "banking77" / name, encoding="utf-8", newline="") as source:
            rows = [row for row in csv.DictReader(source) if row["category"] in INTENTS]
        with open(folder / name, "w", encoding="utf-8", newline="") as target:
            writer = csv.DictWriter(target, ["text", "category"])
            writer.writeheader()
            writer.writerows(rows)
    return folder / "train.csv", folder / "test.csv"


def test_four_intents_with_their_own_test_file(files, tmp_path):
    train, test = files
    config = FinetuneConfig(str(train), test=str(test), read="mean", lm_weight=0.0, lr=1e-3, epochs=2)
    result = finetune_classifier(config, tmp_path / "run")
    judged = read_labelled(test)
    assert result.saved.labels == INTENTS
    assert result.test.count == 160
    assert result.test.accuracy > 0.7  # always the commonest intent: 0.25
    assert evaluate(result.saved, judged).report.confusion == result.test.confusion
