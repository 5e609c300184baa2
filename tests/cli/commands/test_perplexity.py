"""`perplexity`: what it prints."""

import json

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.recipes.pretraining.perplexity import perplexity
from tinygrad_gpt.runs.saved_model import load_model


@pytest.fixture
def data(tmp_path):
    return str(tiny.text_file(tmp_path / "a.txt"))


@pytest.fixture
def language(models):
    return str(models / "language.h5")


def test_the_figures_are_printed(language, data, capsys):
    assert main(["perplexity", "--model", language, "--data", data, "--stride", "5"]) == 0
    out, err = capsys.readouterr()
    result = perplexity(load_model(language), [data], stride=5)
    figures = result.figures
    assert out.splitlines() == [
        result.counts, f"{figures.windows} windows of 16 tokens, stride 5",
        f"loss {figures.loss:.4f} nats per token, perplexity {figures.perplexity:,.2f}, "
        f"{figures.bits_per_byte:.4f} bits per byte"]
    assert err == ""


def test_json_is_one_object(language, data, capsys):
    args = ["perplexity", "--model", language, "--data", data, "--data", data]
    assert main([*args, "--json", "--max-windows", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == perplexity(load_model(language), [data, data], max_windows=4).to_dict()
    assert found["files"] == 2


def test_a_classifier_is_noted(model, data, capsys):
    assert main(["perplexity", "--model", model, "--data", data]) == 0
    assert capsys.readouterr().err == "the model is a classifier; its language model was measured\n"


def test_a_bar_is_shown_on_a_terminal(language, data, capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["perplexity", "--model", language, "--data", data]) == 0
    assert "window" in capsys.readouterr().err
