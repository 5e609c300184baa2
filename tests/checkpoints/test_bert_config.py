"""Sizes of published encoders, and what `transformers` assumes of them; `test_bert_files.py` has more."""

import pytest

from tinygrad_gpt.checkpoints.bert_config import bert_config, bert_shapes, position_offset


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_what_a_config_leaves_out_is_as_in_transformers(family):
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    kind = {"bert": transformers.BertConfig, "distilbert": transformers.DistilBertConfig,
            "roberta": transformers.RobertaConfig}[family]
    assert bert_config({"model_type": family}) == bert_config(kind().to_dict())


def test_roberta_counts_positions_on_from_its_padding():
    assert [position_offset({"model_type": kind, "pad_token_id": 3}) for kind in ("bert", "roberta")] == [0, 4]
    assert bert_config({"model_type": "roberta", "max_position_embeddings": 514})["n_ctx"] == 512


def test_shapes_follow_the_config():
    config = bert_config({"model_type": "bert", "num_hidden_layers": 1, "vocab_size": 7, "hidden_size": 24})
    shapes = bert_shapes(config | {"pooler": "none"})
    assert shapes["h.0.attn.c_attn.weight"] == (24, 72)
    assert shapes["wtt.weight"] == (2, 24)
    assert bert_shapes(config | {"pooler": "tanh"}).keys() - shapes.keys() == {"pooler.weight", "pooler.bias"}
    assert bert_shapes(config | {"pooler": "tanh", "n_types": 0}).keys() & {"wtt.weight"} == set()
