"""Encoders that classify, from `transformers` and back to it, with their vocabularies."""

import json
import random

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from soak import times

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.checkpoints.bert_files import read_bert_head
from tinygrad_gpt.cli import main
from tinygrad_gpt.data.batches import pad
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import Reading
from tinygrad_gpt.recipes.classification.classify import classify, encode_texts
from tinygrad_gpt.recipes.export import export
from tinygrad_gpt.runs.saved_model import SavedModel, load_model
from tinygrad_gpt.text import Tokenizer

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
LABELS = {0: "anger", 1: "Freude", 2: "悲しみ"}
WORDS = ["see", "you", "at", "six", "free", "prize", "call", "now", "ok", "42", "mum!", "what?"]
TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS, 1 + i % 8)) for i in range(100)]
KINDS = {"bert": ("Bert", {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
                           "intermediate_size": 20, "pad_token_id": 0}),
         "distilbert": ("DistilBert", {"dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "pad_token_id": 0}),
         "roberta": ("Roberta", {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
                                 "intermediate_size": 20, "pad_token_id": 1})}


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def wordpiece():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), "see", "you", "##ze"]
    return transformers.BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})


def byte_pairs(folder):
    folder.mkdir()
    Tokenizer.train(TEXTS, 290).save_pretrained(folder)
    ids = json.loads((folder / "vocab.json").read_text())
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    del ids["<|endoftext|>"]
    tokens = [*special, *ids, "<mask>"]
    return transformers.RobertaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)


@pytest.fixture(scope="module", params=KINDS)
def published(request, tmp_path_factory):
    """The folder of a classifier that `transformers` wrote, and that classifier."""
    folder = tmp_path_factory.mktemp(request.param)
    kind, sizes = KINDS[request.param]
    tokenizer = byte_pairs(folder / "bpe") if kind == "Roberta" else wordpiece()
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{kind}ForSequenceClassification")(getattr(transformers, f"{kind}Config")(
        **sizes, vocab_size=len(tokenizer), max_position_embeddings=60, id2label=LABELS,
        label2id={label: i for i, label in LABELS.items()})).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    theirs.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, theirs


def their_logits(model, folder):
    """Logits (100, 3) of texts that are padded to the longest."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()


def our_logits(saved):
    model = saved.classifier
    ids, lengths = map(default_backend().from_numpy, pad(
        encode_texts(saved.tokenizer, TEXTS, model.context)[0], model.reading.pad_id))
    return model(ids, lengths).numpy()


def test_in_and_out(published, tmp_path):
    folder, theirs = published
    saved = load_model(folder)
    expected = their_logits(theirs, folder)
    assert saved.labels == tuple(LABELS.values())
    assert type(saved.model) is BertClassifier
    np.testing.assert_allclose(our_logits(saved), expected, rtol=0, atol=1e-5)
    export(saved, tmp_path / "out")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert type(again) is type(theirs)
    np.testing.assert_allclose(their_logits(again, tmp_path / "out"), expected, rtol=0, atol=1e-5)
    pipeline = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    for answer, found in zip(classify(saved, TEXTS[:10]), pipeline(TEXTS[:10]), strict=True):
        assert (found["label"], found["score"]) == (answer.label, pytest.approx(answer.probability, abs=1e-5))


def test_an_encoder_goes_out_alone(published, tmp_path):
    folder, theirs = published
    read = load_model(folder)
    export(SavedModel(read.base, read.tokenizer, (), {}), tmp_path / "out")
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    ours = Bert.from_pretrained(tmp_path / "out")
    ids = np.random.default_rng(0).integers(5, 80, (3, 9))
    with torch.no_grad():
        expected = theirs.base_model(torch.from_numpy(ids)).last_hidden_state.numpy()
        np.testing.assert_allclose(loaded(torch.from_numpy(ids)).last_hidden_state.numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours(ids).numpy(), expected, rtol=0, atol=1e-5)


def test_a_shorter_context_goes_out(published, tmp_path):
    folder, _ = published
    read = load_model(folder)
    reading = Reading("first", causal=False, context=9, pad_id=read.tokenizer.pad_id)
    short = BertClassifier(read.base, 3, reading=reading)
    export(SavedModel(short.eval(), read.tokenizer, read.labels, {}), tmp_path / "out")
    assert load_model(tmp_path / "out").classifier.context == 9
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    ids = np.array([[*read.tokenizer.encode_sequence("see you", 9)]])
    with torch.no_grad():
        expected = again(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(short(ids, np.array([ids.size])).numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reading", [Reading("mean", causal=False), Reading("first", causal=False, start=False),
                                     Reading("first", causal=False, filled=True)], ids=str)
def test_what_the_files_cannot_say_stays(reading, published, tmp_path):
    read = load_model(published[0])
    model = BertClassifier(read.base, 3, reading=reading)
    with pytest.raises(UsageError, match=r"^cannot export an encoder's classifier .*; finetune with --read first$"):
        export(SavedModel(model, read.tokenizer, read.labels, {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command(published, tmp_path, capsys):
    folder, _ = published
    assert main(["export", "--model", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "transformers.AutoModelForSequenceClassification.from_pretrained" in capsys.readouterr().out
    assert main(["classify", "--model", str(tmp_path / "out"), "free prize"]) == 0


def changed(folder, target, **config):
    """A copy with other settings in config.json."""
    target.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(content | config))
    return target


def test_other_heads_are_none_of_texts(published, tmp_path):
    folder, _ = published
    for number, names in enumerate((["BertForTokenClassification"], {"a": 1}, 7)):
        assert read_bert_head(changed(folder, tmp_path / str(number), architectures=names)) is None
    other = changed(folder, tmp_path / "other", architectures=["BertForTokenClassification"])
    with pytest.raises(CheckpointError, match=r"it does not classify texts; give a classifier"):
        BertClassifier.from_pretrained(other)
    assert BertClassifier.from_pretrained(folder).reading.read == "first"


@pytest.mark.parametrize(("config", "why"), [
    ({"problem_type": "regression"}, "problem_type is 'regression'"),
    ({"id2label": {"0": "a", "1": "b"}}, "id2label does not name 3 classes, 0 to 2"),
])
def test_odd_classes_are_refused(config, why, published, tmp_path):
    with pytest.raises(CheckpointError, match=why):
        load_model(changed(published[0], tmp_path / "odd", **config))


def test_scores_of_another_width_are_refused(published, tmp_path):
    folder = changed(published[0], tmp_path / "odd")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name in ("classifier.weight", "classifier.out_proj.weight"))
    save_file(tensors | {name: np.ones((3, 11), np.float32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"its scores are F32 \(3, 11\) and F32 \(3,\), which do not fit"):
        load_model(folder)


def test_damaged_files_are_refused_or_read(published, tmp_path):
    folder = changed(published[0], tmp_path / "damaged")
    generator, whole = random.Random(0), {name: (folder / name).read_bytes() for name in ("config.json",
                                                                                           "model.safetensors")}
    outcomes = set()
    for _ in range(times(150, 20_000)):
        name = generator.choice(list(whole))
        data = bytearray(whole[name])
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(min(len(data), 4000))
            data[place:place + generator.randint(0, 2)] = generator.choice(
                (b"", b"0", b"9", b"-", b"null", b"[", b"{}", b"\"", bytes([generator.randrange(256)])))
        (folder / name).write_bytes(data)
        try:
            outcomes.add(type(load_model(folder).model).__name__)
        except CheckpointError as error:
            outcomes.add("refused" if len(str(error).splitlines()) == 1 else str(error))
        (folder / name).write_bytes(whole[name])
    assert {"refused", "BertClassifier"} <= outcomes <= {"refused", "BertClassifier", "Bert"}
