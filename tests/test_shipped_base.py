"""The language model that ships: small, offline, as good as its page says, and silent about where it was made."""

import json
import socket

import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.figures.perplexity import measure_perplexity
from tinygrad_gpt.recipes.pretraining.corpus import encode_documents
from tinygrad_gpt.recipes.pretraining.perplexity import perplexity
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model, model_file

ENGLISH = ("The old man sat down by the fire and looked at his children. 'There was a time,' he said, 'when I could "
           "walk to the village and back before the sun was up.' They laughed, for they had heard it many times.")


@pytest.fixture(scope="module")
def shipped():
    return load_model(SHIPPED_BASE)


def bits_per_byte(saved, text):
    tokens = encode_documents(saved.tokenizer, [text])
    return measure_perplexity(saved.transformer, tokens, len(text.encode()) + 1).bits_per_byte


def test_it_is_at_most_10_mb():
    assert model_file(SHIPPED_BASE).stat().st_size <= 10_000_000


def test_it_names_no_folder(shipped):
    assert "/" not in json.dumps(shipped.provenance)
    assert set(shipped.provenance) >= {"recipe", "version", "sha256", "config", "bits_per_byte", "tokens_seen"}


def test_it_knows_english(shipped):
    assert bits_per_byte(shipped, ENGLISH) < 1.6
    backwards = " ".join(reversed(ENGLISH.split()))
    assert bits_per_byte(shipped, backwards) > bits_per_byte(shipped, ENGLISH) + 0.5


def test_it_writes_without_a_network(monkeypatch, capsys):
    def refuse(*args, **settings):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket, "socket", refuse)
    assert main(["generate", "Once upon a time", "--max-new-tokens", "60"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Once upon a time")
    words = text.split()
    assert len(words) > 25
    assert sum(word.strip(".,;:!?\"'“”").isalpha() for word in words) > 0.85 * len(words)


def test_it_is_as_good_as_its_page_says(shipped, shared_data):
    figures = perplexity(shipped, [str(shared_data / "pretrain" / "books_val.txt.xz")], max_windows=100).figures
    noted = shipped.provenance["bits_per_byte"]
    assert figures.bits_per_byte == pytest.approx(noted, abs=0.05)  # a sample of a tenth of the text
    assert noted <= 1.5
    page = (model_file(SHIPPED_BASE).parent / "README.md").read_text(encoding="utf-8")
    assert f"{noted:.3f} bits per byte" in page
