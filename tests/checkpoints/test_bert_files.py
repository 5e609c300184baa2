"""`read_bert` beside `transformers`: random models of each family, in every option and form of the files."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from soak import times

from tinygrad_gpt.checkpoints.bert_files import is_bert, read_bert
from tinygrad_gpt.checkpoints.bert_names import published_names
from tinygrad_gpt.data.batches import pad
from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.text import read_tokenizer

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")

BERT = {"vocab_size": 41, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
        "max_position_embeddings": 11, "pad_token_id": 1}
DISTILBERT = {"vocab_size": 41, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "max_position_embeddings": 11}
FAMILIES = {"bert": (transformers.BertConfig, transformers.BertModel, BERT),
            "roberta": (transformers.RobertaConfig, transformers.RobertaModel, BERT),
            "distilbert": (transformers.DistilBertConfig, transformers.DistilBertModel, DISTILBERT)}
OPTIONS = [(family, change) for family, changes in {
    "bert": [{}, {"hidden_act": "gelu_new"}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-5}, {"type_vocab_size": 1},
             {"type_vocab_size": 3}, {"num_attention_heads": 12, "intermediate_size": 48}],
    "roberta": [{}, {"hidden_act": "gelu_new"}, {"pad_token_id": 0}, {"type_vocab_size": 1}],
    "distilbert": [{}, {"activation": "relu"}, {"sinusoidal_pos_embds": True}],
}.items() for change in changes]
IDS = np.random.default_rng(1).integers(2, 41, (3, 8))
REAL = np.arange(8) < np.array([8, 5, 2])[:, None]


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def fresh(family, **settings):
    """A model of transformers whose biases and norms are random, too."""
    config, model, sizes = FAMILIES[family]
    torch.manual_seed(0)
    model = model(config(**sizes | settings, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def their_states(model, ids=IDS, real=REAL):
    ids = np.where(real, ids, 1 if model.config.pad_token_id is None else model.config.pad_token_id)
    return model(torch.from_numpy(ids), attention_mask=torch.from_numpy(real).long()).last_hidden_state


@pytest.mark.parametrize(("family", "change"), OPTIONS, ids=str)
def test_hidden_states_and_every_gradient(family, change, tmp_path):
    theirs = fresh(family, **change)
    theirs.save_pretrained(tmp_path)
    ours = Bert.from_pretrained(tmp_path)
    weights = np.random.default_rng(2).standard_normal((3, 8, 12)).astype(np.float32) * REAL[..., None]
    found, expected = ours(IDS, REAL), their_states(theirs)
    np.testing.assert_allclose(found.numpy()[REAL], expected.detach().numpy()[REAL], rtol=0, atol=1e-5)
    (found * weights).sum().backward()
    (expected * torch.from_numpy(weights)).sum().backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()
                 if parameter.grad is not None}
    compared = compare_gradients(ours, gradients, family)
    assert compared == gradients.keys()


def compare_gradients(ours, gradients, family):
    """The names of transformers' gradients, all of which ours equal."""
    compared = set()
    for name, parameter in ours.named_parameters():
        theirs = published_names(name, family)
        if name.startswith("pooler"):
            assert parameter.grad is None
            continue
        for part, own in zip(theirs, np.split(parameter.grad.numpy(), len(theirs), axis=-1), strict=True):
            expected = gradients[part]
            expected = expected[len(expected) - len(own):] if name == "wpe.weight" else expected
            own = own if name in ("wte.weight", "wpe.weight", "wtt.weight") else own.T
            scale = max(abs(expected).max(), 1e-3)
            np.testing.assert_allclose(own, expected, rtol=0, atol=1e-4 * scale, err_msg=part)
            compared.add(part)
    return compared


def test_pooler(tmp_path):
    theirs = fresh("bert")
    theirs.save_pretrained(tmp_path)
    ours = Bert.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IDS), token_type_ids=torch.from_numpy(IDS % 2)).pooler_output.numpy()
    np.testing.assert_allclose(ours.pool(ours(IDS, types=IDS % 2)[:, 0]).numpy(), expected, rtol=0, atol=1e-5)


def test_in_several_files_and_half_precision(tmp_path):
    theirs = fresh("bert").half()
    theirs.save_pretrained(tmp_path, max_shard_size="3KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    ours = Bert.from_pretrained(tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(ours(IDS, REAL).numpy()[REAL], their_states(theirs.float()).numpy()[REAL], rtol=0,
                                   atol=1e-5)


@pytest.mark.parametrize("head", [transformers.BertForMaskedLM, transformers.BertForPreTraining,
                                  transformers.BertForSequenceClassification])
def test_a_head_is_left_out(head, tmp_path):
    torch.manual_seed(0)
    theirs = head(transformers.BertConfig(**BERT)).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(Bert.from_pretrained(tmp_path)(IDS, REAL).numpy()[REAL],
                                   their_states(theirs.bert).numpy()[REAL], rtol=0, atol=1e-5)


def test_names_of_files_from_tensorflow(tmp_path):
    theirs = fresh("bert")
    theirs.save_pretrained(tmp_path)
    old = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
           array for name, array in load_file(tmp_path / "model.safetensors").items()}
    save_file(old | {"bert.embeddings.position_ids": np.arange(11)}, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert np.abs(Bert.from_pretrained(tmp_path)(IDS, REAL).numpy() - their_states(theirs).numpy())[
            REAL].max() < 1e-5


@pytest.fixture
def folder(tmp_path):
    fresh("bert").save_pretrained(tmp_path)
    return tmp_path


def change_config(folder, **changes):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))


@pytest.mark.parametrize(("change", "why"), [
    ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', and only 'absolute' is"),
    ({"is_decoder": True}, "is_decoder is True, and only False is known here"),
    ({"hidden_act": "silu"}, "hidden_act is 'silu', and only 'gelu', 'gelu_new' and 'relu' are known here"),
    ({"hidden_act": ["gelu"]}, "hidden_act is ['gelu'], and only"),
    ({"num_hidden_layers": 3}, "of the tensors do not fit: missing encoder.layer.2."),
    ({"num_hidden_layers": 10**9}, "config.json says 1000000000 layers, but the file has 39 tensors in all"),
    ({"num_hidden_layers": "2"}, "num_hidden_layers is '2', not a whole number from 1 on"),
    ({"hidden_size": 13}, "its width is 13, not a multiple of its 3 attention heads"),
    ({"layer_norm_eps": None}, "layer_norm_eps is None, not a number between 0 and 1"),
    ({"type_vocab_size": -1}, "type_vocab_size is -1, not a whole number"),
    ({"vocab_size": 40}, "embeddings.word_embeddings.weight is (41, 12), expected (40, 12)"),
    ({"model_type": ["bert"]}, "model_type is ['bert'], and only bert, distilbert, roberta are known here"),
    ({"model_type": "electra"}, "model_type is 'electra', and only bert, distilbert, roberta are known here"),
])
def test_what_computes_otherwise_is_refused(change, why, folder):
    change_config(folder, **change)
    with pytest.raises(CheckpointError) as caught:
        read_bert(folder)
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"cannot load ({folder / 'model.safetensors'}): ")


def test_missing_config_and_odd_tensors_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    for odd, why in (({"pooler.dense.bias": np.ones(12, np.int32)}, "pooler.dense.bias is I32, expected F32, F16 or "
                                                                    "BF16"),
                     ({"extra": np.ones(2, np.float32)}, "unexpected extra (2,)")):
        save_file(tensors | odd, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"1 of the tensors do not fit: {re.escape(why)}; does config.json"):
            read_bert(folder)
    save_file(tensors | {"bert.pooler.dense.bias": tensors["pooler.dense.bias"]}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"it holds pooler.dense.bias both with and without a prefix"):
        read_bert(folder)
    (folder / "config.json").unlink()
    assert not is_bert(folder)
    with pytest.raises(CheckpointError, match=r"no config.json is beside it; give the folder of a published encoder"):
        read_bert(folder)


def test_families_are_told_by_their_config(folder):
    assert is_bert(folder)
    assert is_bert(folder / "model.safetensors")
    change_config(folder, model_type="gpt2")
    assert not is_bert(folder)


def sentence_vectors(states, real):
    """The mean of the hidden states of the real tokens, scaled to length 1."""
    mean = (states * real[..., None]).sum(1) / real.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_sentence_vectors_of_real_messages(shared_data):
    """24 messages and 12 pairs of them; `TINYGRAD_GPT_SOAK=1` takes 1,000 and 500."""
    path = shared_data / "models" / "minilm"
    if not path.is_dir():
        pytest.skip(f"the model is not here: {path}")
    texts = read_labelled(shared_data / "spam" / "SMSSpamCollection").texts[:times(24, 1000)]
    ours, theirs = Bert.from_pretrained(path), transformers.AutoModel.from_pretrained(path).eval()
    tokenizer, found, expected = read_tokenizer(path), [], []
    for start in range(0, len(texts), 8):
        ids, lengths = pad([tokenizer.encode_sequence(text, 128) for text in texts[start:start + 8]], tokenizer.pad_id)
        real = np.arange(ids.shape[1]) < lengths[:, None]
        with torch.no_grad():
            expected += [*sentence_vectors(their_states(theirs, ids, real).numpy(), real)]
        with no_grad():
            found += [*sentence_vectors(ours(ids, real).numpy(), real)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    similar = [np.sum(np.array(vectors[::2]) * vectors[1::2], axis=1) for vectors in (found, expected)]
    assert np.array_equal(*map(np.argsort, similar))
