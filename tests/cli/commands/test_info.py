"""`info`: what it prints of a model."""

import json

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import load_model


def test_a_language_model_is_described(models, capsys):
    path = str(models / "language.h5")
    assert main(["info", path]) == 0
    printed, err = capsys.readouterr()
    model = load_model(path).model
    assert err == ""
    assert printed.startswith(f"GPT2: vocab_size {model.config.vocab_size}, ")
    assert f"{model.size:,} parameters" in printed
    assert f"{model.flops_per_token():,} forward" in printed
    assert all(f"{name} " in printed for name, _ in model.named_parameters())


def test_a_classifier_as_json(models, capsys):
    path = str(models / "classifier.h5")
    assert main(["info", path, "--json"]) == 0
    found, saved = json.loads(capsys.readouterr().out), load_model(path)
    assert found["model"] == "GPT2Classifier"
    assert found["labels"] == list(saved.labels)
    assert found["parameters"] == saved.model.size == sum(row["size"] for row in found["tensors"])
    assert found["bytes"]["float32"] == 4 * saved.model.size
    assert [tuple(row["shape"]) for row in found["tensors"]] == [p.shape for p in saved.model.parameters()]


def test_what_is_no_model_is_one_line(capsys):
    assert main(["info", "absent.h5"]) == 1
    assert main(["info"]) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert [line.startswith("error: ") for line in err.splitlines()] == [True, True]
    assert all(len(line) <= 240 for line in err.splitlines())
