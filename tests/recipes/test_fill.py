import numpy as np
import published
import pytest
import tiny

from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import CheckpointError, DataError
from tinygrad_gpt.recipes.fill import fill, load_masked_lm
from tinygrad_gpt.runs.saved_model import save_model
from tinygrad_gpt.text import Tokenizer, WordPiece
from tinygrad_gpt.text.layout import Layout

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "!", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("masked")
    published.masked_lm(path, WordPiece(TOKENS))
    return path


def test_by_definition(folder):
    """The softmax over the vocabulary at the place of the hidden token."""
    model, tokenizer = load_masked_lm(folder)
    (filled,) = fill(model, tokenizer, ["The [MASK] sat [MASK]!"], top=11)
    with no_grad():
        scores = model(np.array([[2, 5, 4, 7, 4, 9, 3]])).numpy()[0].astype(np.float64)
    for place, words in zip((2, 4), filled.places, strict=True):
        expected = np.exp(scores[place]) / np.exp(scores[place]).sum()
        assert [word.id for word in words] == sorted(range(11), key=lambda i: -expected[i])
        assert [word.text for word in words] == [TOKENS[word.id] for word in words]
        np.testing.assert_allclose([word.probability for word in words], sorted(expected)[::-1], rtol=1e-4)
    assert filled.text == "The [MASK] sat [MASK]!"


def test_texts_alone_and_together(folder):
    model, tokenizer = load_masked_lm(folder)
    texts = ["the [MASK]", "a cat [MASK] [SEP]!"]
    together = list(fill(model, tokenizer, texts, top=3))
    assert together == [next(fill(model, tokenizer, [text], top=3)) for text in texts]
    assert [len(words) for filled in together for words in filled.places] == [3, 3]


@pytest.mark.parametrize(("text", "why"), [
    ("the cat", r"^no \[MASK\] \(text 2\): there is nothing to fill in; write \[MASK\] for the hidden word$"),
    ("", r"^no \[MASK\] \(text 2\)"), ("the [mask]", r"^no \[MASK\] \(text 2\)"),
    ("a [MASK]" * 20, r"^too long a text \(text 2\): it has 42 tokens, and the model reads 24; shorten it$"),
])
def test_texts_that_cannot_be_filled(folder, text, why):
    with pytest.raises(DataError, match=why):
        next(fill(*load_masked_lm(folder), ["a [MASK]", text]))


def test_models_without_a_head(tmp_path):
    save_model(tmp_path / "gpt2.h5", tiny.language_model())
    published.config_file(tmp_path, **{"n_head": 1})
    published.safetensors_file(tmp_path / "model.safetensors", published.weights())
    for model in (tmp_path / "gpt2.h5", tmp_path):
        with pytest.raises(CheckpointError, match=r"^cannot fill \(.*\): it is no published encoder with a mask"):
            load_masked_lm(model)
    published.masked_lm(tmp_path / "bert", WordPiece(TOKENS), has_head=False)
    with pytest.raises(CheckpointError, match=r"^cannot load \(.*\): it has no masked-language head, only the encoder"):
        load_masked_lm(tmp_path / "bert")


def test_a_published_model_without_a_head_is_not_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGRAD_GPT_CACHE", str(tmp_path))  # where nothing is
    with pytest.raises(CheckpointError, match=r"cannot fill \(minilm\): it is published without a masked-la"):
        load_masked_lm("minilm")


def test_a_vocabulary_that_does_not_fit(tmp_path):
    published.masked_lm(tmp_path, WordPiece(TOKENS))
    WordPiece([*TOKENS, "more"]).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"^cannot fill \(.*\): its vocabulary has no token for a hidden w"):
        load_masked_lm(tmp_path)


def test_beside_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    published.masked_lm(tmp_path, WordPiece(TOKENS))
    transformers.utils.logging.disable_progress_bar()
    model = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    theirs = transformers.pipeline("fill-mask", model=model, tokenizer=transformers.BertTokenizer.from_pretrained(
        tmp_path), top_k=5)("the cat [MASK] a!")
    ((ours,),) = [filled.places for filled in fill(*load_masked_lm(tmp_path), ["the cat [MASK] a!"])]
    assert [word.id for word in ours] == [answer["token"] for answer in theirs]
    np.testing.assert_allclose([word.probability for word in ours], [answer["score"] for answer in theirs], atol=1e-5)


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_other_families_beside_transformers(tmp_path, family):
    """RoBERTa has byte-level BPE, <mask>, and positions that begin behind that of the padding."""
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    if family == "roberta":
        bpe = Tokenizer.train(["the cat sat on a cat"], 262)
        ids = {text: i for i, text in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
        last = len(bpe.tokens) + 4
        Tokenizer(bpe.tokens, Layout(tuple(range(4, last)), ids | {"<mask>": last}, 2, (2,), 0, sep_id=2, pad_id=1,
                                     unk_id=3, mask_id=last)).save_pretrained(tmp_path)
        model = transformers.RobertaForMaskedLM(transformers.RobertaConfig(
            vocab_size=last + 1, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
            max_position_embeddings=24, initializer_range=0.5))
    else:
        WordPiece(TOKENS).save_pretrained(tmp_path)
        model = transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(
            vocab_size=len(TOKENS), dim=12, n_layers=2, n_heads=2, hidden_dim=20, max_position_embeddings=24,
            initializer_range=0.5))
    model.eval().save_pretrained(tmp_path)
    text = "the cat <mask> on" if family == "roberta" else "the cat [MASK] a"
    theirs = transformers.pipeline("fill-mask", model=model, top_k=5,
                                   tokenizer=transformers.AutoTokenizer.from_pretrained(tmp_path))(text)
    ((ours,),) = [filled.places for filled in fill(*load_masked_lm(tmp_path), [text])]
    assert [word.id for word in ours] == [answer["token"] for answer in theirs]
    np.testing.assert_allclose([word.probability for word in ours], [answer["score"] for answer in theirs], atol=1e-5)
