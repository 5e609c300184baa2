"""`MaskedLM` beside `transformers`: random models of each family with every activation."""

import numpy as np
import pytest

from tinygrad_gpt.checkpoints.bert_names import published_names
from tinygrad_gpt.checkpoints.masked_head import HEAD
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.masked_lm import MaskedLM

TINY = {"vocab_size": 41, "n_ctx": 9, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_inner": 20}
IDS = np.random.default_rng(1).integers(2, 41, (3, 8))
REAL = np.arange(8) < np.array([8, 5, 2])[:, None]
TARGETS = np.where(REAL & (np.random.default_rng(2).random((3, 8)) < 0.4), IDS[::-1], -100)

torch_test = pytest.mark.parametrize(("family", "change"), [
    ("bert", {}), ("bert", {"hidden_act": "gelu_new"}), ("bert", {"hidden_act": "relu"}),
    ("bert", {"layer_norm_eps": 1e-5}), ("roberta", {}), ("roberta", {"hidden_act": "relu"}), ("distilbert", {}),
    ("distilbert", {"activation": "relu"})], ids=str)


@pytest.fixture
def theirs():
    """A function: family, settings -> a model of transformers whose biases and norms are random, too."""
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    transformers.utils.logging.disable_progress_bar()
    kinds = {"bert": (transformers.BertConfig, transformers.BertForMaskedLM),
             "roberta": (transformers.RobertaConfig, transformers.RobertaForMaskedLM),
             "distilbert": (transformers.DistilBertConfig, transformers.DistilBertForMaskedLM)}

    def make(family, **settings):
        sizes = {"vocab_size": 41, "max_position_embeddings": 11, "pad_token_id": 1}
        sizes |= {"dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20} if family == "distilbert" else {
            "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
        config, model = kinds[family]
        torch.manual_seed(0)
        model = model(config(**sizes | settings, attn_implementation="eager")).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return model

    return make


def their_name(name, family):
    """The published names of one of our parameters, without a prefix."""
    if name.startswith("transformer."):
        return published_names(name.removeprefix("transformer."), family)
    layer, _, kind = name.removeprefix("masked_head.").rpartition(".")
    return (f"{HEAD[family][layer]}.{kind}",) if layer else HEAD[family]["bias"][:1]


@torch_test
def test_scores_loss_and_every_gradient(theirs, family, change, tmp_path):
    import torch

    model = theirs(family, **change)
    model.save_pretrained(tmp_path)
    ours = MaskedLM.from_pretrained(tmp_path)
    ids = np.where(REAL, IDS, 1)
    expected = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(REAL).long(),
                     labels=torch.from_numpy(TARGETS))
    with no_grad():
        np.testing.assert_allclose(ours(ids, REAL).numpy()[REAL], expected.logits.detach().numpy()[REAL], rtol=0,
                                   atol=1e-5)
    loss = ours.loss(ids, TARGETS, REAL)
    assert loss.item() == pytest.approx(expected.loss.item(), abs=1e-5)
    loss.backward()
    expected.loss.backward()
    gradients = {name.removeprefix(f"{family}."): parameter.grad.numpy() for name, parameter in model.named_parameters()
                 if parameter.grad is not None}
    compared = set()
    for name, parameter in ours.named_parameters():
        parts = their_name(name, family)
        for part, own in zip(parts, np.split(parameter.grad.numpy(), len(parts), axis=-1), strict=True):
            wanted = gradients[part]
            wanted = wanted[len(wanted) - len(own):] if name.endswith("wpe.weight") else wanted
            own = own if ".wte." in name or ".wpe." in name or ".wtt." in name else own.T
            np.testing.assert_allclose(own, wanted, rtol=0, atol=1e-4 * max(abs(wanted).max(), 1e-3), err_msg=part)
            compared.add(part)
    assert compared == set(gradients)


def test_an_encoder_alone_has_no_head(theirs, tmp_path):
    theirs("bert").bert.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"^cannot load \(.*model.safetensors\): it has no masked-language head"):
        MaskedLM.from_pretrained(tmp_path)


def test_a_head_of_its_own_matrix_is_refused(theirs, tmp_path):
    theirs("bert", tie_word_embeddings=False).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="tie_word_embeddings is False, and only True is known here"):
        MaskedLM.from_pretrained(tmp_path)


def test_only_hidden_tokens_are_scored():
    """The loss is the mean over the targets of the negative log of what softmax gives them."""
    model = MaskedLM(Bert(BertConfig(**TINY)))
    with no_grad():
        scores = model(IDS, REAL).numpy().astype(np.float64)
        loss = model.loss(IDS, TARGETS, REAL).item()
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    rows, places = np.nonzero(TARGETS != -100)
    assert loss == pytest.approx(-log_p[rows, places, TARGETS[rows, places]].mean(), rel=1e-5)


def test_a_new_head_is_a_function_of_its_seed():
    model = Bert(BertConfig(**TINY))
    first, again, other = (MaskedLM(model, seed).masked_head.dense.weight.numpy() for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() == pytest.approx(0.02, rel=0.2)
