"""Names of published encoders."""

import pytest

from tinygrad_gpt.checkpoints.bert_names import HEADS, plain_name, published_names
from tinygrad_gpt.errors import CheckpointError


@pytest.mark.parametrize(("name", "plain"), [
    ("bert.encoder.layer.0.output.LayerNorm.gamma", "encoder.layer.0.output.LayerNorm.weight"),
    ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
    ("module.roberta.pooler.dense.bias", "pooler.dense.bias"),
    ("distilbert.transformer.layer.3.ffn.lin1.bias", "transformer.layer.3.ffn.lin1.bias"),
    ("bert.embeddings.position_ids", None), ("embeddings.token_type_ids", None),
])
def test_plain_names(name, plain):
    assert plain_name(name) == plain


def test_ours_are_made_of_theirs():
    assert published_names("h.11.attn.c_attn.bias", "bert") == tuple(
        f"encoder.layer.11.attention.self.{part}.bias" for part in ("query", "key", "value"))
    assert published_names("h.0.ln_1.weight", "distilbert") == ("transformer.layer.0.sa_layer_norm.weight",)
    assert published_names("wtt.weight", "roberta") == ("embeddings.token_type_embeddings.weight",)
    with pytest.raises(CheckpointError, match=r"an encoder has no tensor h.0.ln_3.weight"):
        published_names("h.0.ln_3.weight", "bert")


def test_heads():
    names = ["cls.predictions.bias", "lm_head.dense.weight", "vocab_projector.bias", "classifier.out_proj.weight",
             "pre_classifier.bias", "pooler.dense.bias", "classifiers.bias"]
    assert [bool(HEADS.fullmatch(name)) for name in names] == [True] * 5 + [False] * 2
