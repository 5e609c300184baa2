import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_gpt
from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.text import Tokenizer, WordPiece, load_tokenizer, tokenizer_from_arrays
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.wordpiece import Normalization
from tinygrad_gpt.text.wordpiece_files import ROLES, bert_layout

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def plain(wordpiece, monkeypatch):
    """The same vocabulary where the library is not installed."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    return WordPiece(wordpiece.vocabulary)


class TestEncode:
    def test_ids(self, wordpiece):
        def text(ids):
            return [wordpiece.vocabulary[i] for i in ids]

        assert text(wordpiece.encode("The unaffable cat, 漢字!")) == [
            "the", "una", "##ffa", "##ble", "cat", ",", "漢", "字", "!"]
        assert text(wordpiece.encode("a☃b c")) == ["[UNK]", "c"]
        assert wordpiece.encode("") == wordpiece.encode(" \n\u200b") == []

    @given(st.text())
    def test_the_library_changes_nothing(self, wordpiece, text):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "tokenizers", None)
            plain = WordPiece(wordpiece.vocabulary)
            assert plain.encode(text) == wordpiece.encode(text)
        assert plain._library is None

    def test_special_tokens_in_a_text_are_text(self, wordpiece, plain):
        for tokenizer in (wordpiece, plain):
            assert not set(wordpiece.special.values()) & set(tokenizer.encode("[SEP] a[CLS] [MASK] [PAD] [UNK]"))
            assert tokenizer.encode("a [MASK] b", {"[MASK]"}) == [
                *tokenizer.encode("a"), wordpiece.mask_id, *tokenizer.encode("b")]
            assert tokenizer.encode("a[SEP][CLS]", "all")[1:] == [wordpiece.sep_id, wordpiece.cls_id]
        assert wordpiece.special_in(["a [MASK] b", "[sep]"]) == {"[MASK]"}
        with pytest.raises(DataError, match=r"^disallowed special token '\[SEP\]' \(character 3\): .*$"):
            wordpiece.encode("a [SEP]", disallowed_special="all")

    def test_a_special_token_without_signs_is_text_too(self):
        tokens = ["PAD", *SPECIAL[1:], "p", "##a", "##d"]
        tokenizer = WordPiece(tokens, bert_layout(tokens, {**ROLES, "pad_token": "PAD"}), Normalization(False))
        assert tokenizer.encode("PAD pad") == [1, 5, 6, 7]
        assert tokenizer.encode("PAD pad", "all") == [0, 5, 6, 7]

    def test_sequences(self, wordpiece):
        ids = wordpiece.encode("the cat!")
        cls_id, sep_id = wordpiece.cls_id, wordpiece.sep_id
        assert wordpiece.encode_sequence("the cat!") == [cls_id, *ids, sep_id]
        assert wordpiece.encode_sequence("the cat!", 5) == [cls_id, *ids, sep_id]
        assert wordpiece.encode_sequence("the cat!", 4) == [cls_id, *ids[:2], sep_id]
        assert wordpiece.encode_sequence("", 4) == [cls_id, sep_id]
        assert wordpiece.encode_sequence("[MASK]", 4, "all") == [cls_id, wordpiece.mask_id, sep_id]
        with pytest.raises(UsageError, match="length is 2; give at least 3"):
            wordpiece.encode_sequence("the cat!", 2)

    def test_roles(self, wordpiece):
        assert [wordpiece.vocabulary[i] for i in (wordpiece.pad_id, wordpiece.cls_id, wordpiece.sep_id,
                                                  wordpiece.mask_id)] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
        assert (wordpiece.eot_id, wordpiece.end_ids) == (wordpiece.sep_id, {wordpiece.sep_id})
        assert wordpiece.n_vocab == wordpiece.vocab_size == len(wordpiece.vocabulary)
        gpt = Tokenizer.train([], 257)
        assert (gpt.cls_id, gpt.sep_id, gpt.mask_id, gpt.pad_id) == (None, None, None, None)
        assert gpt.encode_sequence("ab", 1) == gpt.encode("a")


class TestDecode:
    def test_by_hand(self, wordpiece):
        assert wordpiece.decode(wordpiece.encode("The unaffable CAT, isn't it?")) == "the unaffable cat, isn ' t it?"
        assert wordpiece.decode([wordpiece.cls_id, wordpiece.mask_id]) == "[CLS] [MASK]"
        assert wordpiece.decode([wordpiece.vocabulary.index("##ble")]) == "##ble"
        assert wordpiece.decode([]) == ""

    def test_as_the_library_decodes(self, minilm):
        tokenizers = pytest.importorskip("tokenizers", reason="tokenizers, the oracle, is not installed")
        decoder, draw = tokenizers.decoders.WordPiece(), random.Random(0)
        signs = minilm.encode(". ? ! , ' n t m s ve re do not")
        for _ in range(1000):
            ids = draw.choices([*signs, *draw.choices(range(minilm.vocab_size), k=9)], k=draw.randrange(30))
            assert minilm.decode(ids) == decoder.decode([minilm.vocabulary[i] for i in ids])

    @pytest.mark.parametrize("bad", [-1, 10**6])
    def test_ids_outside_the_vocabulary(self, wordpiece, bad):
        with pytest.raises(DataError, match=rf"^token id {bad} \(position 1\): the vocabulary has ids 0 to \d+; .*$"):
            wordpiece.decode([5, bad])


class TestVocabulary:
    @pytest.mark.parametrize(("tokens", "why"), [
        ([*SPECIAL, "a", "a"], "it has a token twice"), ([*SPECIAL, ""], "a token is empty or no text"),
        ([*SPECIAL, b"a"], "a token is empty or no text"), ([*SPECIAL, "\ud800"], "half a surrogate pair"),
        (["a"], r"it lacks '\[CLS\]'"), ([], r"it lacks '\[CLS\]'"),
    ])
    def test_what_is_none_is_refused(self, tokens, why):
        with pytest.raises(CheckpointError, match=rf"^cannot use the vocabulary \({len(tokens)} tokens\): .*{why}.*; "):
            WordPiece(tokens)

    @pytest.mark.parametrize(("layout", "why"), [
        (Layout((0, 1), {"[UNK]": 1}, 1, (1,), unk_id=1), "its ids are not 0 to 4"),
        (Layout((0, 1, 2, 3, 4), {"[UNK]": 2}, 2, (2,), unk_id=2), "another id than its text"),
        (Layout((0, 1, 2, 3, 4), {"[UNK]": 1}, 1, (1,)), "no token for unknown words"),
        (Layout((0, 1, 2, 3, 4), {"[UNK]": 1}, 1, (1,), 2, unk_id=1), "begins or ends a text"),
        (Layout((0, 1, 2, 3, 4), {"[UNK]": 1}, 1, (1,), mask_id=4, unk_id=1), "separates, hides, fills up"),
    ])
    def test_layouts_that_do_not_fit(self, layout, why):
        with pytest.raises(CheckpointError, match=why):
            WordPiece(SPECIAL, layout)

    def test_equal_by_everything(self, wordpiece):
        again = WordPiece(wordpiece.vocabulary)
        assert again == wordpiece
        assert hash(again) == hash(wordpiece)
        others = [WordPiece([*wordpiece.vocabulary, "x" * 9]),
                  WordPiece(wordpiece.vocabulary, None, Normalization(do_lower_case=False)),
                  WordPiece(wordpiece.vocabulary, bert_layout(wordpiece.vocabulary, added=["the"]))]
        digests = {tokenizer.digest for tokenizer in [wordpiece, again, *others]}
        assert len(digests) == 4
        assert all(other != wordpiece for other in others)
        assert repr(wordpiece) == f"WordPiece(vocab_size={wordpiece.vocab_size})"
        assert wordpiece.tokens == tuple(token.encode() for token in wordpiece.vocabulary)

    def test_whatever_a_tokenizer_has(self, wordpiece):
        byte_level = Tokenizer.train([], 257)
        for name in {*dir(byte_level), *vars(byte_level)}:
            assert hasattr(wordpiece, name), name

    def test_none_is_trained(self):
        with pytest.raises(UsageError, match=r"^cannot train a vocabulary \(WordPiece\): .*; use from_pretrained"):
            WordPiece.train(["a"], 300)


def changed(arrays, **settings):
    content = json.loads(arrays["wordpiece"].tobytes())
    return {**arrays, "wordpiece": np.frombuffer(json.dumps({**content, **settings}).encode(), np.uint8)}


class TestArrays:
    @pytest.mark.parametrize("normalization", [Normalization(), Normalization(False, True, False)])
    def test_there_and_back(self, wordpiece, normalization):
        ours = WordPiece(wordpiece.vocabulary, bert_layout(wordpiece.vocabulary, added=["the"]), normalization)
        arrays = ours.to_arrays()
        assert {name: array.dtype for name, array in arrays.items()} == {
            "token_bytes": np.uint8, "token_lengths": np.uint32, "wordpiece": np.uint8}
        restored = tokenizer_from_arrays(arrays)
        assert type(restored) is WordPiece
        assert restored == ours
        assert restored.digest == ours.digest

    @pytest.mark.parametrize(("damage", "why"), [
        (lambda a: {**a, "token_lengths": a["token_lengths"][:-1]}, "the lengths do not add up"),
        (lambda a: {**a, "wordpiece": a["wordpiece"].astype(np.int8)}, r"\(wordpiece\): it is int8"),
        (lambda a: {**a, "wordpiece": a["wordpiece"][:-1]}, r"\(wordpiece\): it is not JSON"),
        (lambda a: {**a, "token_bytes": a["token_bytes"] | np.uint8(0x80)}, "a token is no text"),
        (lambda a: {"wordpiece": a["wordpiece"]}, r"\(token_bytes\): it is missing"),
        (lambda a: changed(a, layout=None), "its settings are not those of WordPiece"),
        (lambda a: changed(a, layout={}), "its layout is not"),
        (lambda a: changed(a, normalization={"do_lower_case": 1}), "its settings are not"),
        (lambda a: changed(a, normalization={"other": True}), "its settings are not"),
        (lambda a: changed(a, normalization=[]), "its settings are not"),
    ])
    def test_damage_is_refused(self, wordpiece, damage, why):
        with pytest.raises(CheckpointError, match=f"^cannot use the vocabulary .*{why}.*; .*$"):
            tokenizer_from_arrays(damage(wordpiece.to_arrays()))


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        WordPiece.load(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read the vocabulary ({path}): ")
    assert message.isprintable()
    return message


class TestFiles:
    def test_there_and_back(self, wordpiece, tmp_path):
        wordpiece.save(tmp_path / "vocab.json")
        again = load_tokenizer(tmp_path / "vocab.json")
        assert type(again) is WordPiece
        assert again == wordpiece

    @pytest.mark.parametrize(("field", "value", "why"), [
        ("format", "tinygrad_gpt characters 1", "it does not say 'format: tinygrad_gpt WordPiece 1'"),
        ("tokens", None, "'tokens' is not a list of strings"), ("tokens", ["a"], "no token has id 1"),
        ("tokens", [7] * 300, "a token is empty or no text"), ("layout", 7, "its settings are not those of WordPiece"),
        ("normalization", {}, "its digest is"), ("normalization", {"a": 1}, "its settings are not"),
        ("digest", None, "its digest is"),
    ])
    def test_damaged_fields(self, wordpiece, tmp_path, field, value, why):
        path = tmp_path / "vocab.json"
        WordPiece(wordpiece.vocabulary, None, Normalization(False)).save(path)
        path.write_text(json.dumps({**json.loads(path.read_bytes()), field: value}), encoding="utf-8")
        assert why in refusal(path)

    def test_no_file(self, tmp_path):
        assert "no such file" in refusal(tmp_path / "absent.json")


def test_the_whole_vocabulary_of_bert(minilm):
    assert (minilm.vocab_size, minilm.pad_id, minilm.layout.unk_id) == (30522, 0, 100)
    assert (minilm.cls_id, minilm.sep_id, minilm.mask_id) == (101, 102, 103)
    assert minilm.encode_sequence("Hello, unaffable world!") == [101, 7592, 1010, 14477, 20961, 3468, 2088, 999, 102]
    assert tokenizer_from_arrays(minilm.to_arrays()) == minilm


def test_a_gpt_does_not_wait_for_it():
    code = ("import sys, tinygrad_gpt.runs.saved_model, tinygrad_gpt.recipes.classification.classify; "
            "print([name for name in sys.modules if 'wordpiece' in name or name == 'tokenizers'])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(tinygrad_gpt.__file__).parents[1])})
    assert done.stdout == "[]\n"


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'WordPieces'"):
        tinygrad_gpt.text.WordPieces  # noqa: B018
