"""nanoGPT's recipe, characters of Shakespeare, small enough for a test; docs/nanogpt.md has the whole."""

import math

import pytest

from tinygrad_gpt.recipes.pretraining.perplexity import perplexity
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig, pretrain
from tinygrad_gpt.text import Characters


@pytest.fixture(scope="module")
def log_and_model(shared_data, tmp_path_factory):
    config = PretrainConfig((str(shared_data / "text" / "tinyshakespeare.txt"),), hold_out=0.1, tokenizer="characters",
                            n_ctx=32, n_embd=48, n_layer=2, n_head=2, steps=300, lr=1e-2, warmup=20, eval_every=300)
    log = []
    return log, pretrain(config, tmp_path_factory.mktemp("runs") / "run", report=log.append)


def test_it_learns_more_than_pairs_of_characters(log_and_model):
    log, saved = log_and_model
    assert type(saved.tokenizer) is Characters
    assert saved.tokenizer.vocab_size == 66
    assert log[0].loss == pytest.approx(math.log(66), abs=0.1)
    # Counts of characters predict the held-out part with 3.35 nats each, counts of pairs with 2.48; it reaches 2.33.
    assert log[-1].scores["validation_loss"] < 2.40


def test_the_held_out_part_measured_as_a_file(log_and_model, shared_data, tmp_path):
    log, saved = log_and_model
    text = (shared_data / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    held_out = tmp_path / "held-out.txt"
    held_out.write_text(text[int(0.9 * len(text)):], encoding="utf-8")
    figures = perplexity(saved, [str(held_out)]).figures
    assert figures.predicted == len(text) - int(0.9 * len(text)) + 1 - held_out.read_text().endswith("\n")
    assert figures.loss == pytest.approx(log[-1].scores["validation_loss"], abs=0.03)  # which is of 200 windows
    assert perplexity(saved, [str(held_out)], stride=16).figures.loss < figures.loss  # more context
