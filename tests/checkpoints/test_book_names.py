"""Models that were saved by the programs of the book compute here what they computed there."""

import json

import listings
import numpy as np
import published
import pytest
import state_dicts as sd
from safetensors.numpy import save_file

from tinygrad_gpt.checkpoints.book_names import from_book, is_book
from tinygrad_gpt.checkpoints.gpt2_config import from_published
from tinygrad_gpt.checkpoints.gpt2_files import read_class_head, read_gpt2
from tinygrad_gpt.checkpoints.mapped_tensor import StoredTensor
from tinygrad_gpt.checkpoints.torch_files import read_torch
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2

WEIGHTS = published.weights()
BOOK = sd.book_names(WEIGHTS)
CONFIG = {"vocab_size": 61, "context_length": 9, "emb_dim": 48, "n_heads": 3, "n_layers": 2, "drop_rate": 0.1,
          "qkv_bias": True}
BOUND = 1e-5


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch, the oracle, is not installed")


def config_file(folder, **content):
    (folder / "config.json").write_text(json.dumps(content))


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        read_gpt2(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def assert_same(folder, expected):
    config_file(folder, n_head=3)
    _, tensors = read_gpt2(folder / "model.pth")
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)


def test_every_name(tmp_path):
    sd.state_dict_file(tmp_path / "model.pth", BOOK)
    assert is_book(read_torch(tmp_path / "model.pth"))
    assert_same(tmp_path, WEIGHTS)
    (tmp_path / "model.pth").unlink()
    save_file(BOOK, tmp_path / "model.pth")  # what a file is, its first bytes tell
    assert_same(tmp_path, WEIGHTS)


@pytest.mark.parametrize("key", ["model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_checkpoint_of_chapter_5_and_wrapped_models(tmp_path, key, prefix):
    sd.state_dict_file(tmp_path / "model.pth", {prefix + name: array for name, array in BOOK.items()}, key)
    assert_same(tmp_path, WEIGHTS)


def test_without_biases_of_query_key_and_value(tmp_path):
    weights = {name: array for name, array in WEIGHTS.items() if not name.endswith("c_attn.bias")}
    sd.state_dict_file(tmp_path / "model.pth", sd.book_names(weights))
    assert_same(tmp_path, weights)


def test_a_head_of_its_own(tmp_path):
    head = WEIGHTS["wte.weight"] + 1
    sd.state_dict_file(tmp_path / "model.pth", sd.book_names(WEIGHTS, head))
    assert_same(tmp_path, WEIGHTS | {"lm_head.weight": head.T})


@pytest.mark.parametrize(("width", "n_head"), [(768, 12), (1024, 16), (1280, 20), (1600, 25)])
def test_the_width_tells_the_heads(width, n_head):
    shapes = {"tok_emb.weight": (9, width), "pos_emb.weight": (5, width), "out_head.weight": (9, width)}
    config = from_published({"lora_alpha": 16}, {name: tensor.shape for name, tensor in from_book({
        name: StoredTensor(None, 0, "F32", shape) for name, shape in shapes.items()}).items()})
    assert config["n_head"] == n_head


# -- beside the book's own programs


def model_of_chapter_4(torch, **changes):
    torch.manual_seed(0)
    model = listings.load("chapter_4", "torch").GPTModel(CONFIG | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def ids(rows=3, length=9):
    return np.random.default_rng(0).integers(0, 61, (rows, length))


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_logits_of_chapter_5(torch, tmp_path, qkv_bias):
    theirs = model_of_chapter_4(torch, qkv_bias=qkv_bias)
    config_file(tmp_path, n_head=3)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3)
    for content in (theirs.state_dict(), {"model_state_dict": theirs.state_dict(),
                                          "optimizer_state_dict": optimizer.state_dict()}):
        torch.save(content, tmp_path / "model.pth")
        with no_grad(), torch.no_grad():
            np.testing.assert_allclose(GPT2.from_pretrained(tmp_path / "model.pth")(ids()).numpy(),
                                       theirs(torch.from_numpy(ids())).numpy(), rtol=0, atol=BOUND)


def classifier_of_chapter_6(torch):
    theirs = model_of_chapter_4(torch)
    theirs.out_head = torch.nn.Linear(48, 2)
    return theirs


def scores(folder):
    with no_grad():
        ours = GPT2Classifier.from_pretrained(folder / "model.pth", pad_id=60)
        padded = np.full((4, 9), 60)
        for row, length in enumerate((9, 4, 1, 7)):
            padded[row, :length] = ids(4)[row, :length]
        return ours, padded, ours(padded, np.array([9, 4, 1, 7])).numpy()


def test_scores_of_chapter_6(torch, tmp_path):
    theirs = classifier_of_chapter_6(torch)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    config_file(tmp_path, n_head=3, id2label={"0": "ham", "1": "spam"}, max_length=9)
    ours, padded, found = scores(tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(found, theirs(torch.from_numpy(padded))[:, -1, :].numpy(), rtol=0, atol=BOUND)
    assert read_class_head(tmp_path / "model.pth").labels == ("ham", "spam")
    assert (ours.reading.read, ours.reading.filled, ours.reading.context) == ("last", True, 9)
    config_file(tmp_path, n_head=3)
    head = read_class_head(tmp_path / "model.pth")
    assert (head.labels, head.filled) == (("LABEL_0", "LABEL_1"), 120)


def test_lora_of_appendix_e(torch, tmp_path):
    theirs = classifier_of_chapter_6(torch)
    listings.load("appendix_e", "torch").replace_linear_with_lora(theirs, rank=4, alpha=8)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if ".lora." in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    config_file(tmp_path, n_head=3, max_length=9)
    assert "it has LoRA matrices, but not the alpha that they were trained with" in refusal(tmp_path / "model.pth")
    config_file(tmp_path, n_head=3, max_length=9, lora_alpha=8)
    _, padded, found = scores(tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(found, theirs(torch.from_numpy(padded))[:, -1, :].numpy(), rtol=0, atol=BOUND)


# -- what does not fit


def changed(folder, **changes):
    tensors = {name: array for name, array in (BOOK | changes).items() if array is not None}
    config_file(folder, n_head=3, lora_alpha=2)
    return sd.state_dict_file(folder / "model.pth", tensors)


@pytest.mark.parametrize(("name", "array", "what"), [
    ("trf_blocks.0.att.W_key.weight", np.zeros((6, 5), np.float32), "'h.0.q.weight' differ in shape or dtype"),
    ("trf_blocks.0.att.W_key.weight", np.zeros((6, 6), np.float16), "'h.0.q.weight' differ in shape or dtype"),
    ("trf_blocks.0.att.W_key.weight", None, "missing h.0.attn.c_attn.weight"),
    ("trf_blocks.0.norm3.scale", np.zeros(6, np.float32), "unexpected trf_blocks.0.norm3.scale"),
    ("trf_blocks.0.ff.layers.0.weight", np.zeros((6, 24), np.float32), "5 of the tensors do not fit"),
    ("out_head.weight", None, None),
    ("pos_emb.weight", None, "it has no matrix wpe.weight"),
    ("trf_blocks.0.att.out_proj.lora.A", np.zeros((6, 2), np.float32),
     "the LoRA matrices of 'trf_blocks.0.att.out_proj' do not fit its weights"),
])
def test_other_shapes_and_names(tmp_path, name, array, what):
    path = changed(tmp_path, **{name: array})
    if what is None:
        assert_same(tmp_path, WEIGHTS)
    else:
        assert what in refusal(path)


def test_values_that_are_not_finite(tmp_path):
    path = changed(tmp_path, **{"final_norm.shift": np.float32([1, 2, np.nan, 4, 5, 6])})
    with pytest.raises(CheckpointError, match=r"cannot load .*model\.pth.*ln_f\.bias"):
        GPT2.from_pretrained(path)


@pytest.mark.parametrize(("content", "what"), [
    ({"max_length": 0}, "max_length is 0, not a whole number"), ({"max_length": "9"}, "max_length is '9'"),
    ({"id2label": {"0": "a"}}, "id2label does not name 2 classes")])
def test_a_config_of_a_classifier(tmp_path, content, what):
    head = {"out_head.weight": np.ones((2, 6), np.float32), "out_head.bias": np.ones(2, np.float32)}
    path = changed(tmp_path, **head)
    config_file(tmp_path, n_head=3, **content)
    with pytest.raises(CheckpointError) as caught:
        read_class_head(path)
    assert what in str(caught.value)
