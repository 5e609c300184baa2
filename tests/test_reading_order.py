"""The README's reading order holds every op that a training step records."""

import re
from pathlib import Path

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.engine.mode import observing
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import train_step

REPOSITORY = Path(__file__).resolve().parents[1]
READ_IT = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("\n## Read it\n")[1].split("\n## ")[0]
ORDER = re.findall(r"^\d+\. \[`[^`]+`\]\(([^)]+)\)", READ_IT, flags=re.MULTILINE)
NUMBERS = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
           "thirteen", "fourteen", "fifteen", "sixteen"]
SIZES = GPT2Config(vocab_size=11, n_ctx=8, n_embd=8, n_layer=2, n_head=2, dropout=0.1)
TOKENS = np.random.default_rng(0).integers(0, SIZES.vocab_size, (2, SIZES.n_ctx + 1))


def language_model():
    model = GPT2(SIZES).train()
    return model, lambda: model.loss(TOKENS[:, :-1], TOKENS[:, 1:])


def classifier():
    model = GPT2Classifier(GPT2(SIZES), 3).train()
    return model, lambda: ops.cross_entropy(model(TOKENS[:, :-1], np.array([8, 5])), np.array([2, 0]))


def recorded_files(model, loss):
    """The files that define the ops which one training step records, relative to the repository."""
    files = set()

    def note(op, arguments, result):
        if result.node is not None:
            files.add(Path(op.function.__code__.co_filename).relative_to(REPOSITORY).as_posix())

    with observing(note):
        train_step([loss], AdamW(model.parameters()), 1.0, "step 1", model)
    return files


@pytest.mark.parametrize("step", [language_model, classifier])
def test_every_recorded_op_is_in_the_reading_order(step):
    assert recorded_files(*step()) - set(ORDER) == set()


def test_the_readme_counts_its_files_right():
    assert READ_IT.count(f"{NUMBERS[len(ORDER)].capitalize()} files take you") == 1
    in_ops = {file for file in ORDER if "/ops/" in file}
    assert recorded_files(*language_model()) == in_ops - {"tinygrad_gpt/ops/softmax.py"}
    assert f"are defined in {NUMBERS[len(in_ops) - 1]} of" in READ_IT
    assert "tinygrad_gpt/ops/softmax.py" in recorded_files(*classifier())


def test_every_file_of_the_reading_order_is_there_once():
    assert len(set(ORDER)) == len(ORDER)
    assert all((REPOSITORY / file).is_file() for file in ORDER)
