import json

import pytest

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.tokenizer_json import read_tokenizer_json, to_tokenizer_json


@pytest.fixture
def content(small):
    return json.loads(to_tokenizer_json(small.tokens, small.layout))


@pytest.fixture
def read(tmp_path):
    """A function: the content of a tokenizer.json -> the tokenizer of a folder with it alone."""
    def read(content):
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
        return Tokenizer.from_pretrained(tmp_path)
    return read


def test_there_and_back(small, content, read):
    assert read(content) == small


def test_merges_may_be_one_text_each(small, content, read):
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    assert read(content) == small


def test_what_older_versions_leave_out(small, content, read):
    for name in ("type", "dropout", "fuse_unk", "byte_fallback", "ignore_merges"):
        del content["model"][name]
    content |= {"post_processor": None, "decoder": None}
    del content["pre_tokenizer"]["use_regex"]
    assert read(content) == small


def test_first_tokens_and_a_space_before_each_text(small, read):
    n = len(small.tokens)
    layout = Layout(tuple(range(3, n + 3)), {"<s>": 0, "</s>": 1, "<pad>": 2, "[X]": n + 3}, 1, (1,), 0, True)
    assert read(json.loads(to_tokenizer_json(small.tokens, layout))) == Tokenizer(small.tokens, layout)


def test_a_token_that_takes_the_white_space_before_it(content, read):
    content["added_tokens"] += [{"id": 300, "content": "<m>", "lstrip": True}]
    tokenizer = read(content)
    assert tokenizer.layout.lstrip == ("<m>",)
    assert tokenizer.encode("the \n <m> cat", {"<m>"}) == [*tokenizer.encode("the"), 300, *tokenizer.encode(" cat")]
    assert tokenizer.encode("  <m>", "all") == [300]
    assert tokenizer.decode(tokenizer.encode("the  <m>")) == "the  <m>"
    assert tokenizer.special_in(["a <m>"]) == {"<m>"}
    assert read(json.loads(to_tokenizer_json(tokenizer.tokens, tokenizer.layout))) == tokenizer


def changed(content, place, value):
    *path, last = place.split(".")
    for name in path:
        content = content[name]
    content[last] = value


@pytest.mark.parametrize(("place", "value", "why"), [
    ("model.type", "WordLevel", "model.type is 'WordLevel', and only 'BPE' is read"),
    ("model.dropout", 0.1, "model.dropout is 0.1"), ("model.ignore_merges", True, "model.ignore_merges is True"),
    ("model.end_of_word_suffix", "</w>", "model.end_of_word_suffix is '</w>'"),
    ("model.continuing_subword_prefix", "##", "model.continuing_subword_prefix is '##'"),
    ("normalizer", {"type": "NFC"}, "normalizer is 'NFC'"), ("normalizer", "NFC", "normalizer is 'no object'"),
    ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer is 'Whitespace'"),
    ("pre_tokenizer", None, "pre_tokenizer is None"), ("pre_tokenizer", "ByteLevel", "pre_tokenizer is None"),
    ("pre_tokenizer.use_regex", False, "pre_tokenizer.use_regex is False"),
    ("post_processor", {"type": "RobertaProcessing"}, "post_processor is 'RobertaProcessing'"),
    ("post_processor", {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": 2}, "is 'RobertaProcessing'"),
    ("post_processor", {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]}, "it lacks '<s>'"),
    ("post_processor", "TemplateProcessing", "post_processor is 'no object'"),
    ("post_processor.single", [], "post_processor is 'TemplateProcessing' and puts other than one"),
    ("post_processor.single", [{"Sequence": {}}, {"SpecialToken": {"id": "<|endoftext|>"}}], "puts other than one"),
    ("post_processor.single", [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {}}], "texts begin with '<s>'"),
    ("model", None, "it has no model"), ("model.merges", None, "model.merges is not a list"),
    ("model.merges", ["a"], "merge 1 is not two tokens"), ("model.merges", [["a", 7]], "merge 1 is not two tokens"),
    ("model.vocab", [], "it is not a map of tokens to ids"), ("model.vocab", {"a": 0}, "it lacks 298 tokens"),
    ("model.vocab", {"a": 0, "b": 0}, "two of its tokens have one id"), ("model.vocab", {"a": "0"}, "it is not a map"),
    ("model.vocab", {"a": True}, "it is not a map"), ("model.vocab", {"a": 2**40}, "it is not a map"),
    ("added_tokens", {"<s>": 300}, "an added token is not one"), ("added_tokens", [7], "an added token is not one"),
    ("added_tokens", [{"id": "300", "content": "<s>"}], "an added token is not one"),
    ("added_tokens", [{"id": 300, "content": "<m>", "rstrip": True}], "its added token '<m>' has rstrip"),
    ("added_tokens", [{"id": 300, "content": "<m>", "single_word": True}], "its added token '<m>' has single_word"),
    ("added_tokens", [{"id": 300, "content": "<m>"}, {"id": 301, "content": "<m>"}], "'<m>' has two ids"),
    ("added_tokens", [{"id": 300, "content": "<m>"}, {"id": 300, "content": "<n>"}], "two of its tokens have one id"),
    ("added_tokens", [{"id": 302, "content": "<m>"}], "no token has id 300"),
    ("added_tokens", [{"id": 300, "content": "\ud800"}], "is no text"),
    ("added_tokens", [{"id": 300, "content": ""}], "it is not a map"),
])
def test_what_would_give_other_ids_is_refused(content, read, place, value, why):
    changed(content, place, value)
    with pytest.raises(CheckpointError) as caught:
        read(content)
    message = str(caught.value)
    assert message.startswith("cannot read the vocabulary (")
    assert why in message
    assert message.isprintable()
    assert "; " in message


@pytest.mark.parametrize("content", [None, [], 7, "model", {}])
def test_other_json_is_refused(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="it has no model"):
        read_tokenizer_json(tmp_path / "tokenizer.json")


def test_all_settings_that_are_wrong_are_named_at_once(content, read):
    content["normalizer"], content["pre_tokenizer"] = {"type": "NFC"}, {"type": "Metaspace"}
    with pytest.raises(CheckpointError, match=r"normalizer is 'NFC'.*; pre_tokenizer is 'Metaspace'.*generate --ids"):
        read(content)
