"""A model leaves in the files of a published GPT-2; what has no place there is refused."""

import json

import numpy as np
import pytest
import tiny

from tinygrad_gpt import no_grad
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.classification.classify import classify, encode_texts
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.recipes.export import export
from tinygrad_gpt.runs.saved_model import SavedModel, load_model
from tinygrad_gpt.text import Characters


def test_the_files_that_are_named_are_there(tmp_path):
    names = export(tiny.language_model(), tmp_path / "a" / "b")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "a" / "b").iterdir())


def test_transformers_reads_the_same_text_and_computes_the_same(tmp_path):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    transformers.utils.logging.disable_progress_bar()
    original = tiny.language_model()
    export(original, tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = original.tokenizer.encode("ski and swim in a loop")
    assert tokenizer("ski and swim in a loop")["input_ids"] == ids
    assert tokenizer.eos_token_id == model.config.eos_token_id == original.tokenizer.eot_id
    with torch.no_grad(), no_grad():
        np.testing.assert_allclose(original.model(np.array([ids])).numpy(), model(torch.tensor([ids])).logits.numpy(),
                                   rtol=0, atol=2e-6)


def test_the_end_of_text_is_the_vocabularys_also_in_a_larger_model(tmp_path):
    small = tiny.language_model()
    wide = GPT2(GPT2Config(small.tokenizer.vocab_size + 12, n_ctx=16, n_embd=16, n_layer=2, n_head=2))
    export(SavedModel(wide, small.tokenizer, (), {}), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] == small.tokenizer.eot_id
    assert load_model(tmp_path).model.config.vocab_size == small.tokenizer.vocab_size + 12


@pytest.mark.parametrize("reading", [Reading(), Reading(start=False, context=12), Reading(read="last", pad_id=7)])
def test_transformers_classifies_alike(reading, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    transformers.utils.logging.disable_progress_bar()
    original = tiny.classifier()
    model = GPT2Classifier(original.transformer, 3, reading=reading).eval()
    model.score.weight.data[...] *= np.float32(50)
    model.score.bias.data[...] = [0.5, -2.0, 1.0]
    original = SavedModel(model, original.tokenizer, original.labels, {})
    export(original, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(theirs.config.pad_token_id)
    texts = ["ice ski", "bug", "swim in a loop of sand"]
    with torch.no_grad():
        expected = theirs(**tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")).logits
    assert theirs.config.id2label == dict(enumerate(original.labels))
    assert theirs.config.n_positions == model.context
    for saved in (original, load_model(tmp_path)):
        assert saved.labels == original.labels
        tokens, _ = encode_texts(saved.tokenizer, texts, None, saved.classifier.reading.start)
        logits = Texts(saved.classifier, tokens).logits(np.arange(3)).numpy()
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("start", [True, False])
def test_a_pipeline_of_transformers_classifies_100_texts_in_padded_batches(start, tmp_path):
    pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    transformers.utils.logging.disable_progress_bar()
    original = tiny.classifier(n_ctx=48)
    eot = original.tokenizer.eot_id
    model = GPT2Classifier(original.transformer, 3, reading=Reading(start=start, pad_id=eot)).eval()
    model.score.weight.data[...] *= np.float32(50)
    model.score.bias.data[...] = [0.5, -2.0, 1.0]
    original = SavedModel(model, original.tokenizer, original.labels, {})
    export(original, tmp_path)
    generator = np.random.default_rng(0)
    words = ["ice", "ski!", "bug", "loop?", "swim", "sand!!!", "über", "a\nb", "<b>", "!"]
    texts = [" ".join(generator.choice(words, generator.integers(1, 9))) for _ in range(98)] + ["!", "bug " * 90]
    pipeline = transformers.pipeline("text-classification", model=str(tmp_path), device="cpu", top_k=None)
    found = pipeline(texts, batch_size=16, truncation=True)
    for saved in (original, load_model(tmp_path)):
        for answer, theirs in zip(classify(saved, texts), found, strict=True):
            assert {row["label"]: row["score"] for row in theirs} == pytest.approx(answer.probabilities, abs=1e-5)
    batch = pipeline.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    logits = pipeline.model(**batch).logits.detach().numpy()
    assert batch["input_ids"].shape == (100, 48)
    tokens = [tokens[:48] for tokens in encode_texts(original.tokenizer, texts, None, start)[0]]
    for classifier in (model, load_model(tmp_path).classifier):
        ours = Texts(classifier, tokens).logits(np.arange(100)).numpy()
        np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reading", [Reading(read="mean"), Reading(filled=True), Reading(causal=False)])
def test_a_classifier_that_reads_otherwise_is_refused(reading, tmp_path):
    original = tiny.classifier()
    model = GPT2Classifier(original.transformer, 3, reading=reading)
    with pytest.raises(UsageError, match="cannot export a classifier that fills up its texts, or reads other than"):
        export(SavedModel(model, original.tokenizer, original.labels, {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_characters_is_refused(tmp_path):
    characters = Characters.train(["abc"])
    model = GPT2(GPT2Config(characters.vocab_size, n_ctx=4, n_embd=4, n_layer=1, n_head=1))
    with pytest.raises(UsageError, match="cannot export a model of characters"):
        export(SavedModel(model, characters, (), {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "model.h5", "model.safetensors"])
def test_a_folder_with_a_run_or_a_model_is_refused(name, tmp_path):
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match=r"cannot export \(.*\): a run or a model is already there; choose another"):
        export(tiny.language_model(), tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]
