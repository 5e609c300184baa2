"""A model goes into a file and comes back."""

import numpy as np
import published
import pytest
import state_dicts
import tensorflow_checkpoint
import tiny

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.models.classifier import Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.export import export
from tinygrad_gpt.runs import saved_model as saved
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, save_model
from tinygrad_gpt.text import Characters, Tokenizer
from tinygrad_gpt.text.pretrained import to_files


@pytest.mark.parametrize("original", [tiny.language_model(), tiny.classifier()], ids=["language model", "classifier"])
def test_what_was_saved_comes_back(original, tmp_path):
    save_model(tmp_path / "model.h5", original)
    for path in (tmp_path, tmp_path / "model.h5"):
        loaded = load_model(path)
        assert type(loaded.model) is type(original.model)
        assert (loaded.labels, loaded.provenance, loaded.tokenizer) == (
            original.labels, original.provenance, original.tokenizer)
        weights = original.model.arrays()
        assert {n: a.tobytes() for n, a in loaded.model.arrays().items()} == {
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
    for name, array in load_model(tmp_path / "half.h5").model.arrays().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, original.model.arrays()[name].astype(np.float16))


@pytest.mark.parametrize("original", [tiny.language_model(), tiny.classifier()], ids=["language model", "classifier"])
def test_int8_is_rounded_by_rows_and_a_quarter_of_the_size(original, tmp_path):
    save_model(tmp_path / "full.h5", original)
    save_model(tmp_path / "int8.h5", original, np.int8)
    sizes = [sum(array.nbytes for name, array in native.load(tmp_path / file).tensors.items()
                 if not name.startswith("tokenizer.")) for file in ("full.h5", "int8.h5")]
    assert sizes[1] < 0.4 * sizes[0]  # a row has 16 to 64 values here
    for name, array in load_model(tmp_path / "int8.h5").model.arrays().items():
        expected = original.model.arrays()[name]
        assert array.dtype == np.float32
        bound = np.abs(expected).max(axis=1, keepdims=True) / 253 if expected.ndim == 2 else 0
        assert (np.abs(array - expected) <= bound).all(), name


def test_int8_without_its_scales_is_refused(tmp_path):
    save_model(tmp_path / "model.h5", tiny.language_model(), np.int8)
    checkpoint = native.load(tmp_path / "model.h5")
    tensors = {name: array for name, array in checkpoint.tensors.items() if name != "wte.weight.row_scale"}
    native.save(tmp_path / "model.h5", tensors | {"wte.weight.row_scale": np.ones(3, np.float32)}, checkpoint.metadata)
    with pytest.raises(CheckpointError, match=r"cannot load model .*'wte\.weight\.row_scale' is float32 \(3,\) and"):
        load_model(tmp_path)
    native.save(tmp_path / "model.h5", tensors, checkpoint.metadata)
    with pytest.raises(CheckpointError, match=r"wte\.weight"):
        load_model(tmp_path)


def test_a_shipped_name_is_found_and_a_file_of_that_name_wins(tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    save_model(tmp_path / "shipped" / "three.h5", tiny.classifier())
    monkeypatch.setattr(saved, "weights_folder", lambda: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert load_model("three").labels == tuple(tiny.WORDS)
    save_model(tmp_path / "three", tiny.language_model())
    assert load_model("three").labels == ()


def test_a_run_that_is_not_finished_is_named_as_such(tmp_path):
    for name in ("config.json", "state-b.h5"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"load \((.*)\): its run is not finished; go on with --resume --out \1"):
        load_model(tmp_path)
    save_model(tmp_path / "model.h5", tiny.language_model())
    assert load_model(tmp_path).provenance == {"recipe": "test"}


def test_a_state_of_a_run_is_named_as_such(tmp_path):
    native.save(tmp_path / "state-a.h5", {"step": np.zeros(1)}, {"kind": "training state", "step": 3})
    with pytest.raises(CheckpointError, match=r"\(.*state-a\.h5\): it is a state from which a run is resumed, no"):
        load_model(tmp_path / "state-a.h5")


def test_a_language_model_is_no_classifier():
    with pytest.raises(UsageError, match="language model, not a classifier"):
        _ = tiny.language_model().classifier
    assert tiny.classifier().classifier.score.weight.shape == (16, 3)


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda tensors, metadata: metadata.pop("config"), "config is None, expected an object"),
    (lambda tensors, metadata: metadata["config"].update(colour=1), "lacks or misnames a field"),
    (lambda tensors, metadata: metadata["config"].update(vocab_size=10), "of the tensors do not fit"),
    (lambda tensors, metadata: metadata["config"].update(n_layer=10**7), "there are 30 tensors in all"),
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


# -- published models


@pytest.fixture
def published_folder(tmp_path):
    """A GPT-2 in the files of `transformers`, and what it was made of."""
    original = tiny.language_model()
    export(original, tmp_path / "hf")
    return tmp_path / "hf", original


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_a_published_model_is_read_with_the_vocabulary_beside_it(published_folder, name):
    folder, original = published_folder
    loaded = load_model(folder / name)
    assert (loaded.tokenizer, loaded.labels, loaded.n_ctx) == (original.tokenizer, (), 16)
    assert loaded.provenance == {"recipe": "published", "file": "model.safetensors"}
    assert not loaded.model.training
    for array, expected in zip(loaded.model.arrays().values(), original.model.arrays().values(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_checkpoint_of_this_package_goes_before_published_files(published_folder):
    folder, _ = published_folder
    save_model(folder / "model.h5", tiny.classifier())
    assert saved.model_file(folder) == folder / "model.h5"
    assert load_model(folder).labels == tuple(tiny.WORDS)
    assert load_model(folder / "model.safetensors").labels == ()


def test_tensorflows_file_is_read(published_folder):
    folder, original = published_folder
    published.keras_file(folder / "tf_model.h5", original.model.arrays())
    (folder / "model.safetensors").unlink()
    for path in (folder, folder / "tf_model.h5"):
        assert load_model(path).provenance["file"] == "tf_model.h5"


def test_a_downloaded_name_is_read_wherever_it_lies(published_folder, tmp_path, monkeypatch):
    folder, original = published_folder
    monkeypatch.setattr(saved, "downloaded", lambda name: folder if name == "gpt2" else None)
    monkeypatch.chdir(tmp_path)
    assert load_model("gpt2").tokenizer == original.tokenizer
    with pytest.raises(CheckpointError, match=r"\(gpt2-xl\): it is not downloaded; the command `download gpt2-xl`"):
        load_model("gpt2-xl")
    save_model(tmp_path / "gpt2-xl", tiny.classifier())
    assert load_model("gpt2-xl").labels == tuple(tiny.WORDS)  # a path goes before a name


def books_model(folder, head=None):
    """A state dict of the book with GPT-2's number of tokens, and its config.json."""
    weights = published.weights(vocab_size=50257, n_ctx=9, width=4, n_layer=1)
    tensors = state_dicts.book_names(weights) if head is None else state_dicts.book_names(weights, head) | {
        "out_head.bias": np.float32([0.5, -0.5])}
    published.config_file(folder, n_head=1, id2label={"0": "ham", "1": "spam"}, max_length=7)
    return weights, state_dicts.state_dict_file(folder / "review.pth", tensors)


def test_a_state_dict_of_the_book_has_gpt2s_vocabulary(tmp_path):
    weights, path = books_model(tmp_path)
    for place in (path, tmp_path):
        loaded = load_model(place)
        assert (loaded.tokenizer, loaded.labels) == (Tokenizer.from_pretrained("gpt2"), ())
        np.testing.assert_array_equal(loaded.model.arrays()["wpe.weight"], weights["wpe.weight"])


def test_a_classifier_of_the_book_fills_its_texts_up_as_the_book_does(tmp_path):
    head = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    loaded = load_model(books_model(tmp_path, head)[1])
    assert loaded.labels == ("ham", "spam")
    assert loaded.classifier.reading == Reading(read="last", context=7, filled=True, pad_id=50256, start=False)
    np.testing.assert_array_equal(loaded.classifier.score.weight.data, head.T)
    np.testing.assert_array_equal(loaded.classifier.score.bias.data, [0.5, -0.5])


def test_openais_folder_has_its_vocabulary_or_gpt2s(tmp_path):
    weights = published.weights(vocab_size=50257, n_ctx=9, width=4, n_layer=1)
    folder = tensorflow_checkpoint.openai_folder(tmp_path / "gpt2" / "124M", weights, n_head=1)
    assert load_model(folder).tokenizer == Tokenizer.from_pretrained("gpt2")
    small = published.weights(vocab_size=300, n_ctx=9, width=4, n_layer=1)
    folder = tensorflow_checkpoint.openai_folder(tmp_path / "small", small, n_head=1)
    with pytest.raises(CheckpointError, match="comes without its vocabulary of 300 tokens"):
        load_model(folder)
    tokenizer = Tokenizer.train(["low lower lowest " * 9], vocab_size=270)
    for name, data in to_files(tokenizer.tokens, tokenizer.layout).items():
        (folder / {"vocab.json": "encoder.json", "merges.txt": "vocab.bpe"}[name]).write_bytes(data)
    assert load_model(folder).tokenizer == tokenizer


def test_a_model_without_its_vocabulary_says_where_to_put_it(published_folder):
    folder, original = published_folder
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    assert str(error.value) == (
        f"cannot load model ({folder / 'model.safetensors'}): it comes without its vocabulary of "
        f"{original.tokenizer.vocab_size} tokens; put the model's vocab.json and merges.txt beside it, or use it "
        "by ids, with generate --ids")


def test_a_vocabulary_larger_than_the_model_is_refused_and_a_smaller_one_is_not(published_folder):
    folder, original = published_folder
    for size in (original.tokenizer.vocab_size - 1, original.tokenizer.vocab_size + 20):
        GPT2(GPT2Config(size, n_ctx=16, n_embd=16, n_layer=2, n_head=2)).save_pretrained(folder)
        if size > original.tokenizer.vocab_size:
            assert load_model(folder).tokenizer == original.tokenizer
        else:
            with pytest.raises(CheckpointError, match="its vocabulary has 300 tokens but the model 299"):
                load_model(folder)


def test_by_ids_no_vocabulary_is_read(published_folder, tmp_path):
    folder, original = published_folder
    (folder / "vocab.json").write_text("damaged")
    save_model(tmp_path / "model.h5", original)
    for path in (folder, tmp_path / "model.h5"):
        tokenizer = load_model(path, by_ids=True).tokenizer
        assert tokenizer.encode("5 17") == [5, 17]
        assert (tokenizer.vocab_size, tokenizer.end_ids) == (300, {299})
