"""A model goes into a file and comes back."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes import saved
from tinygrad_gpt.recipes.saved import SavedModel, load_model, save_model
from tinygrad_gpt.text import Characters


@pytest.mark.parametrize("original", [tiny.language_model(), tiny.classifier()], ids=["language model", "classifier"])
def test_what_was_saved_comes_back(original, tmp_path):
    save_model(tmp_path / "model.h5", original)
    for path in (tmp_path, tmp_path / "model.h5"):
        loaded = load_model(path)
        assert type(loaded.model) is type(original.model)
        assert (loaded.labels, loaded.provenance, loaded.tokenizer) == (
            original.labels, original.provenance, original.tokenizer)
        weights = original.model.state_dict()
        assert {n: a.tobytes() for n, a in loaded.model.state_dict().items()} == {
            n: a.tobytes() for n, a in weights.items()}
        assert loaded.n_ctx == 16


def test_a_vocabulary_of_characters_comes_back(tmp_path):
    tokenizer = Characters.train(["to be, or not to be"])
    model = GPT2(GPT2Config(tokenizer.vocab_size, n_ctx=8, n_embd=8, n_layer=1, n_head=1))
    save_model(tmp_path / "model.h5", SavedModel(model, tokenizer, (), {}))
    loaded = load_model(tmp_path).tokenizer
    assert type(loaded) is Characters
    assert loaded == tokenizer


def test_half_precision_is_rounded_and_smaller(tmp_path):
    original = tiny.language_model()
    save_model(tmp_path / "full.h5", original)
    save_model(tmp_path / "half.h5", original, np.float16)
    assert (tmp_path / "half.h5").stat().st_size < (tmp_path / "full.h5").stat().st_size
    for name, array in load_model(tmp_path / "half.h5").model.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, original.model.state_dict()[name].astype(np.float16))


def test_a_shipped_name_is_found_and_a_file_of_that_name_wins(tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    save_model(tmp_path / "shipped" / "three.h5", tiny.classifier())
    monkeypatch.setattr(saved, "weights_folder", lambda: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert load_model("three").labels == tuple(tiny.WORDS)
    save_model(tmp_path / "three", tiny.language_model())
    assert load_model("three").labels == ()


def test_a_language_model_is_no_classifier():
    with pytest.raises(UsageError, match="language model, not a classifier"):
        _ = tiny.language_model().classifier
    assert tiny.classifier().classifier.score.weight.shape == (16, 3)


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda tensors, metadata: metadata.pop("config"), "lack or misname a field"),
    (lambda tensors, metadata: metadata["config"].update(colour=1), "lack or misname a field"),
    (lambda tensors, metadata: metadata["config"].update(vocab_size=10), "its vocabulary has"),
    (lambda tensors, metadata: metadata["config"].update(n_layer=3), "missing"),
    (lambda tensors, metadata: metadata["labels"].pop(), "expected"),
    (lambda tensors, metadata: tensors.pop("tokenizer.token_bytes"), "token_bytes"),
    (lambda tensors, metadata: tensors.update({"wte.extra": np.zeros(1, np.float32)}), "unexpected"),
    (lambda tensors, metadata: tensors["transformer.wte.weight"].fill(np.nan), "not finite"),
])
def test_parts_that_do_not_fit_are_refused(spoil, message, tmp_path):
    path = tmp_path / "model.h5"
    save_model(path, tiny.classifier())
    checkpoint = native.load(path)
    spoil(checkpoint.tensors, checkpoint.metadata)
    native.save(path, checkpoint.tensors, checkpoint.metadata)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_the_weights_folder_is_the_one_of_the_checkout():
    assert saved.weights_folder().name == "weights"
