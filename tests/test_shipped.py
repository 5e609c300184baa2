"""The model that ships: small, offline, as good as its page says, and silent about where it was made."""

import json
import socket

import numpy as np
import pytest

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.cli import main
from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.recipes.classification.evaluate import evaluate
from tinygrad_gpt.runs.saved_model import SHIPPED_CLASSIFIER, load_model, model_file


@pytest.fixture(scope="module")
def shipped():
    return load_model(SHIPPED_CLASSIFIER)


def test_it_is_at_most_10_mb():
    assert model_file(SHIPPED_CLASSIFIER).stat().st_size <= 10_000_000


def test_it_answers_without_a_network(monkeypatch, capsys):
    def refuse(*args, **settings):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket, "socket", refuse)
    texts = ["WINNER!! Claim your free prize now, text WIN to 80082", "Running late, start dinner without me"]
    assert main(["classify", "--json", *texts]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["label"] for answer in answers] == ["spam", "ham"]
    assert all(answer["probability"] > 0.9 for answer in answers)


def test_it_names_no_folder(shipped):
    noted = json.dumps(shipped.provenance)
    assert "/" not in noted
    assert set(shipped.provenance) >= {"recipe", "version", "sha256", "config", "test_accuracy", "test_f1"}


def test_what_it_computes_of_its_last_block_is_enough(shipped):
    model = shipped.classifier
    ids = np.random.default_rng(0).integers(0, model.transformer.config.vocab_size, (4, 40))
    lengths = np.array([1, 17, 39, 40])
    with no_grad():
        whole = model.transformer.ln_f(model.whole_blocks(model.embed(ids), lengths))
        whole = ops.softmax(model.score(model.pooled(whole, lengths))).numpy()
        np.testing.assert_allclose(ops.softmax(model(ids, lengths)).numpy(), whole, rtol=0, atol=1e-6)


def test_it_is_as_good_as_its_page_says(shipped, shared_data):
    report = evaluate(shipped, read_labelled(str(shared_data / "spam" / "SMSSpamCollection")), "test").report
    assert report.accuracy == pytest.approx(shipped.provenance["test_accuracy"], abs=0.003)
    assert report.f1 == pytest.approx(shipped.provenance["test_f1"], abs=0.003)
    assert report.accuracy > report.majority + 0.1
    page = (model_file(SHIPPED_CLASSIFIER).parent / "README.md").read_text(encoding="utf-8")
    assert f"{report.accuracy:.2%}".replace("%", " %") in page
    assert f"F1 {report.f1:.3f}" in page
