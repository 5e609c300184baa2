"""Appendix E: parameter-efficient finetuning with LoRA, as far as it needs no pretrained weights."""

import csv

import numpy as np
import pytest

from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config


@pytest.fixture(scope="module")
def splits(shared_data):
    """Training, validation and test rows (label, text), drawn as pandas does with `random_state=123`."""
    def sample(rows, n):
        return [rows[i] for i in np.random.RandomState(123).choice(len(rows), n, replace=False)]

    with (shared_data / "spam" / "SMSSpamCollection").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert len(rows) == 5572
    ham, spam = ([row for row in rows if row[0] == label] for label in ("ham", "spam"))
    balanced = sample(ham, len(spam)) + spam
    shuffled = sample(balanced, len(balanced))
    train, validation = int(len(shuffled) * 0.7), int(len(shuffled) * 0.1)
    return shuffled[:train], shuffled[train:train + validation], shuffled[train + validation:]


def test_e_2_sizes_of_the_splits(splits):
    assert [len(part) for part in splits] == [1045, 149, 300]


def test_e_2_longest_training_message(splits, tokenizer):
    assert max(len(tokenizer.encode(text)) for _, text in splits[0]) == 120


def test_e_2_batches(splits):
    training, validation, test = (len(part) for part in splits)
    assert training // 8 == 130  # drop_last
    assert [-(-n // 8) for n in (validation, test)] == [19, 38]


def test_e_4_trainable_parameters():
    """With two classes 124,441,346 numbers; with rank 16 beside each linear layer 2,666,528 that are trained."""
    model = GPT2(GPT2Config(), seed=None)
    head = 768 * 2
    assert model.size + head + 2 == 124_441_346
    matrices = [p.shape for name, p in model.named_parameters() if name.startswith("h.") and p.ndim == 2]
    # c_attn is three layers of the book's: queries, keys, values
    layers = [(n_in, n) for n_in, n_out in matrices for n in ([768] * 3 if n_out == 3 * 768 else [n_out])] + [(768, 2)]
    assert sum(16 * (n_in + n_out) for n_in, n_out in layers) == 2_666_528
