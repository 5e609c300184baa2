"""`export`: what it prints and what it leaves."""

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs import saved_model as saved
from tinygrad_gpt.runs.saved_model import load_model, save_model


def test_a_model_is_written_and_can_be_used(models, tmp_path, capsys):
    out = tmp_path / "hf"
    assert main(["export", "--model", str(models / "language.h5"), "--out", str(out)]) == 0
    printed, err = capsys.readouterr()
    assert printed.splitlines() == [
        f"Written to {out}: config.json, model.safetensors, vocab.json, merges.txt",
        f'Use it: transformers.AutoModelForCausalLM.from_pretrained("{out}")']
    assert err == ""
    assert load_model(out).tokenizer == load_model(models / "language.h5").tokenizer
    assert main(["export", "--model", str(out), "--out", str(tmp_path / "again")]) == 0
    for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_a_classifier_is_written_and_classifies_alike(models, tmp_path, capsys):
    out = tmp_path / "hf"
    assert main(["export", "--model", str(models / "classifier.h5"), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        f'Use it: transformers.AutoModelForSequenceClassification.from_pretrained("{out}")')
    answers = []
    for model in (models / "classifier.h5", out):
        assert main(["classify", "--model", str(model), "ice ski cold", "bug loop"]) == 0
        answers.append(capsys.readouterr())
    assert answers[0] == answers[1]


def test_the_shipped_model_is_the_default(tmp_path, monkeypatch, capsys):
    save_model(tmp_path / f"{saved.SHIPPED_BASE}.h5", tiny.language_model())
    monkeypatch.setattr(saved, "weights_folder", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--out", "hf"]) == 0
    assert capsys.readouterr().out.startswith("Written to hf: ")


def test_a_published_folder_is_a_base_for_finetuning(models, tmp_path, capsys):
    out, data = tmp_path / "hf", tiny.labelled_file(tmp_path / "three.csv")
    assert main(["export", "--model", str(models / "language.h5"), "--out", str(out)]) == 0
    before = (out / "model.safetensors").read_bytes()
    assert main(["finetune", "classifier", "--base", str(out), "--data", str(data), "--epochs", "1",
                 "--out", str(tmp_path / "run")]) == 0
    assert (out / "model.safetensors").read_bytes() == before
    assert load_model(tmp_path / "run").labels == tuple(tiny.WORDS)
    capsys.readouterr()


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_a_checkpoint_of_this_package_in_another_form(models, tmp_path, capsys, form):
    out = tmp_path / "small"
    args = ["export", "--model", str(models / "classifier.h5"), "--out", str(out), "--store", form]
    assert main(args) == 0
    size = (out / "model.h5").stat().st_size
    assert capsys.readouterr().out == f"Written to {out / 'model.h5'}: {size:,} bytes, weights in {form}\n"
    before, after = load_model(models / "classifier.h5"), load_model(out)
    assert (after.labels, after.tokenizer, after.provenance) == (before.labels, before.tokenizer, before.provenance)
    assert after.classifier.reading == before.classifier.reading
    assert main(args) == 2
    assert "a run or a model is already there" in capsys.readouterr().err


def test_what_cannot_be_exported_is_one_line(models, tmp_path, capsys):
    out = tmp_path / "hf"
    assert main(["export", "--model", "absent.h5", "--out", str(out)]) == 1
    assert main(["export"]) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert [line.partition(":")[0] for line in err.splitlines()] == ["error"] * 2
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_one_line(models, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["export", "--model", str(models / "language.h5"), "--out", str(tmp_path / "file" / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
