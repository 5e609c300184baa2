"""Every field of a checkpoint's metadata, spoiled: one line, in no time and no memory."""

import copy
import tracemalloc
from dataclasses import replace

import pytest
import tiny

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import Reading
from tinygrad_gpt.runs.metadata import read_metadata
from tinygrad_gpt.runs.saved_model import packed

ORIGIN = {"config": {"split": "book", "split_seed": 3, "test": None, "style": "phi3"}, "sha256": {"a": "b"},
          "classes": ["code", "snow", "sun"]}
TENSORS, METADATA = packed(tiny.classifier(**ORIGIN))
SHAPES = {name: array.shape for name, array in TENSORS.items() if not name.startswith("tokenizer.")}
MISSING = object()
HOSTILE = {"missing": MISSING, "negative": -5, "zero": 0, "huge": 10**7, "beyond": 10**40, "fraction": 0.5,
           "infinite": float("inf"), "nan": float("nan"), "text": "x", "long text": "x" * 10**6, "list": [1],
           "nested": [[[{"a": [[]]}]]], "object": {"a": 1}, "null": None, "true": True, "false": False}
FIELDS = [*((name,) for name in METADATA), *(("config", name) for name in METADATA["config"]),
          *(("reading", name) for name in METADATA["reading"]), ("config", "colour"), ("reading", "colour"),
          ("provenance", "config"), ("provenance", "sha256"), ("provenance", "classes"),
          *(("provenance", "config", name) for name in ORIGIN["config"])]
GOOD = {  # hostile values that are good values of a field
    ("reading",): {"missing"}, ("config", "dropout"): {"zero", "fraction"}, ("config", "qkv_bias"): {"true"},
    ("config", "layer_norm_epsilon"): {"fraction"}, ("config", "tied_head"): {"true"},
    ("reading", "causal"): {"true", "false"}, ("reading", "filled"): {"true", "false"},
    ("reading", "start"): {"true", "false"}, ("reading", "pad_id"): {"zero"}, ("reading", "context"): {"null"},
    ("config", "colour"): {"missing"}, ("reading", "colour"): {"missing"},
    ("provenance", "config"): {"missing", "object"}, ("provenance", "sha256"): {"missing", "object"},
    ("provenance", "classes"): {"missing"}, ("provenance", "config", "split"): {"missing"},
    ("provenance", "config", "split_seed"): {"missing", "zero", "huge"},
    ("provenance", "config", "test"): {"missing", "text", "long text", "null"},
    ("provenance", "config", "style"): {"missing", "null"}, ("provenance",): {"object"},
}


ENCODER = BertClassifier(Bert(BertConfig(vocab_size=300, n_ctx=9, n_embd=6, n_layer=1, n_head=2, n_inner=8)), 3,
                         reading=Reading("mean", causal=False, context=8))
ENCODER_TENSORS, ENCODER_METADATA = packed(replace(tiny.classifier(), model=ENCODER))
ENCODER_SHAPES = {name: array.shape for name, array in ENCODER_TENSORS.items() if not name.startswith("tokenizer.")}
ENCODER_FIELDS = [(part, name) for part in ("config", "reading") for name in (*ENCODER_METADATA[part], "colour")]


def spoiled(field, value, metadata=METADATA):
    metadata = copy.deepcopy(metadata)
    place = metadata
    for name in field[:-1]:
        place = place[name]
    if value is MISSING:
        place.pop(field[-1], None)
    else:
        place[field[-1]] = value
    return metadata


@pytest.mark.parametrize("field", FIELDS, ids=".".join)
def test_every_spoiled_field_is_refused_in_one_line(field):
    for name, value in HOSTILE.items():
        metadata = spoiled(field, value)
        if name in GOOD.get(field, ()):
            assert read_metadata(metadata, SHAPES).labels == tuple(METADATA["labels"])
            continue
        tracemalloc.start()
        with pytest.raises(CheckpointError) as caught:
            read_metadata(metadata, SHAPES)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * 2**20, name
        assert len(str(caught.value)) < 240, name
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize("field", ENCODER_FIELDS, ids=".".join)
def test_every_spoiled_field_of_an_encoder_is_refused_in_one_line(field):
    for name, value in HOSTILE.items():
        metadata = spoiled(field, value, ENCODER_METADATA)
        if name in GOOD.get(field, ()) and (field, name) != (("reading", "causal"), "true"):
            assert read_metadata(metadata, ENCODER_SHAPES).labels == tuple(METADATA["labels"])
            continue
        with pytest.raises(CheckpointError) as caught:
            read_metadata(metadata, ENCODER_SHAPES)
        assert len(str(caught.value)) < 240, name
        assert "\n" not in str(caught.value), name


def test_an_encoder_keeps_room_for_its_special_tokens():
    assert read_metadata(spoiled(("reading", "context"), 3, ENCODER_METADATA), ENCODER_SHAPES).reading.context == 3
    with pytest.raises(CheckpointError, match=r"reading.context 2, but an encoder sees the whole text, between two"):
        read_metadata(spoiled(("reading", "context"), 2, ENCODER_METADATA), ENCODER_SHAPES)


def test_what_is_good_comes_back():
    read = read_metadata(METADATA, SHAPES)
    assert read.config.to_dict() == METADATA["config"]
    assert read.provenance == METADATA["provenance"]
    assert read.reading.context is None


@pytest.mark.parametrize("field", ["vocab_size", "n_ctx", "n_embd", "n_layer"])
def test_sizes_are_held_against_the_tensors(field):
    metadata = spoiled(("config", field), METADATA["config"][field] * 2)
    with pytest.raises(CheckpointError, match="of the tensors do not fit: "):
        read_metadata(metadata, SHAPES)


def test_thousands_of_unknown_tensors_are_counted():
    shapes = SHAPES | {f"unknown.{i}": (1,) for i in range(15_000)}
    with pytest.raises(CheckpointError, match=r"^15,000 of the tensors do not fit: .* and 14,99\d more$") as caught:
        read_metadata(METADATA, shapes)
    assert len(str(caught.value)) < 240
