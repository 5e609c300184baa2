import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.text import Characters, Tokenizer, load_tokenizer, tokenizer_from_arrays

valid_texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def letters():
    return Characters.train(["the cat\n", "naïve 漢字 😀"])


class TestTrain:
    def test_shakespeare_as_nanogpt_prepares_it(self, shared_data):
        text = (shared_data / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
        trained = Characters.train([text])
        assert trained.characters == "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        assert (trained.vocab_size, trained.eot_id) == (66, 65)
        assert trained.encode("First") == [18, 47, 56, 57, 58]
        assert trained.decode(trained.encode(text)) == text

    def test_the_order_is_that_of_the_code_points(self, letters):
        assert letters.characters == "".join(sorted(set("the cat\nnaïve 漢字 😀")))
        assert letters.tokens == tuple(c.encode() for c in letters.characters)
        assert Characters.train(iter(["ba", "ab", ""])).characters == "ab"

    def test_a_limit_that_suffices_changes_nothing(self):
        assert Characters.train(["abc"], 4) == Characters.train(["abc"], 4096) == Characters.train(["abc"])

    def test_more_characters_than_asked_for(self):
        with pytest.raises(UsageError, match=r"^cannot train a vocabulary \(vocab_size 3\): the texts have 3 different "
                                             r"characters, .*; ask for 4 or more$"):
            Characters.train(["abc"], 3)

    @pytest.mark.parametrize("texts", [[], ["", ""]])
    def test_no_characters(self, texts):
        with pytest.raises(DataError, match=r"^cannot train a vocabulary \(characters\): the texts are empty; .*$"):
            Characters.train(texts)


class TestEncode:
    @given(valid_texts)
    def test_round_trip(self, text):
        trained = Characters.train([text, "a"])
        ids = trained.encode(text)
        assert len(ids) == len(text)
        assert all(0 <= i < trained.eot_id for i in ids)
        assert trained.decode(ids) == text
        assert trained.decode_bytes(ids) == text.encode()

    @given(st.text())
    def test_surrogates_are_treated_as_every_tokenizer_does(self, text):
        trained = Characters.train([text, "a"])
        assert trained.decode(trained.encode(text)) == Tokenizer.train([], 257).decode(
            Tokenizer.train([], 257).encode(text))

    def test_an_unknown_character_is_named_with_its_place(self, letters):
        with pytest.raises(DataError, match=r"^unknown character 'é' \(line 2, column 4\): it is not among the 13 of "
                                            r"the vocabulary; .*$"):
            letters.encode("the cat\nhatéé")

    @pytest.mark.parametrize("character", ["\x00", "\r", "\u2028", "\u202e", "\ud800"])
    def test_the_message_is_one_printable_line(self, letters, character):
        with pytest.raises(DataError) as caught:
            letters.encode(f"a{character}")
        assert str(caught.value).isprintable()
        assert "(line 1, column 2)" in str(caught.value)

    def test_the_end_of_text_in_a_text_is_ordinary_text(self):
        trained = Characters.train(["<|endoftext|>"])
        assert trained.eot_id not in trained.encode("<|endoftext|>")

    def test_batches_and_nothing(self, letters):
        assert letters.encode("") == []

    def test_a_million_characters(self, letters):
        assert letters.decode(letters.encode("the cat " * 125_000)) == "the cat " * 125_000


class TestDecode:
    def test_the_last_id_is_the_end_of_text(self, letters):
        assert letters.decode([*letters.encode("cat"), letters.eot_id]) == "cat<|endoftext|>"
        assert letters.eot_id == letters.vocab_size - 1 == len(letters.characters)

    @pytest.mark.parametrize("bad", [-1, 14, 2**32])
    def test_ids_outside_the_vocabulary(self, letters, bad):
        with pytest.raises(DataError, match=rf"^token id {bad} \(position 1\): the vocabulary has ids 0 to 13; .*$"):
            letters.decode([5, bad])


class TestVocabulary:
    @pytest.mark.parametrize(("characters", "why"), [
        ("", "it has no characters"), ("aba", "it has a character twice"), ("a\ud800", "it has half a surrogate pair"),
        ([b"a", b"b"], "it is not a string"),
    ])
    def test_what_is_none_is_refused(self, characters, why):
        with pytest.raises(CheckpointError,
                           match=rf"^cannot use the vocabulary \({len(characters)} characters\): {why}.*; .*$"):
            Characters(characters)

    def test_equal_by_characters(self, letters):
        assert Characters(letters.characters) == letters
        assert hash(Characters(letters.characters)) == hash(letters)
        assert Characters(letters.characters[::-1]) != letters
        assert repr(letters) == "Characters(vocab_size=14)"

    def test_whatever_a_tokenizer_has(self, letters):
        byte_level = Tokenizer.train([], 257)
        for name in {*dir(byte_level), *vars(byte_level)}:
            assert hasattr(letters, name), name


class TestArrays:
    def test_there_and_back(self, letters):
        arrays = letters.to_arrays()
        assert {name: array.dtype for name, array in arrays.items()} == {"characters": np.uint32}
        assert Characters.from_arrays(arrays) == letters
        restored = tokenizer_from_arrays(arrays)
        assert type(restored) is Characters
        assert restored == letters

    def test_the_arrays_say_which_tokenizer_they_hold(self):
        byte_level = Tokenizer.train(["low low"], 258)
        restored = tokenizer_from_arrays(byte_level.to_arrays())
        assert type(restored) is Tokenizer
        assert restored == byte_level
        with pytest.raises(CheckpointError, match="token_bytes"):
            tokenizer_from_arrays({})

    @pytest.mark.parametrize(("damage", "why"), [
        (lambda a: a.astype(np.int32), r"\(characters\): it is int32 of shape \(13,\), not a row"),
        (lambda a: a[:, None], r"\(characters\): it is uint32 of shape \(13, 1\), not a row"),
        (lambda a: a.astype(">u4"), r"\(characters\): it is >u4 of shape"),
        (lambda a: a + np.uint32(0x110000), r"\(characters\): it holds 1242624, not a row"),
        (lambda a: a[:0], "it has no characters"),
        (lambda a: a * np.uint32(0), "it has a character twice"),
        (lambda a: np.append(a, np.uint32(0xD800)), "half a surrogate pair"),
    ])
    def test_damage_is_refused(self, letters, damage, why):
        with pytest.raises(CheckpointError, match=f"^cannot use the vocabulary .*{why}.*$"):
            Characters.from_arrays({"characters": damage(letters.to_arrays()["characters"])})

    def test_a_missing_array_is_refused(self):
        with pytest.raises(CheckpointError, match=r"\(characters\): it is missing"):
            Characters.from_arrays({})


def refusal(path):
    """Return the reason; the message is one line and names the file."""
    with pytest.raises(CheckpointError) as caught:
        Characters.load(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read the vocabulary ({path}): ")
    assert "\n" not in message
    assert len(message) < 400
    return message


class TestFiles:
    def test_there_and_back(self, letters, tmp_path):
        letters.save(tmp_path / "vocab.json")
        for load in (Characters.load, load_tokenizer):
            again = load(tmp_path / "vocab.json")
            assert type(again) is Characters
            assert again == letters
            assert again.digest == letters.digest

    def test_the_file_says_which_tokenizer_it_holds(self, letters, tmp_path):
        byte_level = Tokenizer.train(["low low"], 258)
        byte_level.save(tmp_path / "bytes.json")
        letters.save(tmp_path / "characters.json")
        assert type(load_tokenizer(tmp_path / "bytes.json")) is Tokenizer
        with pytest.raises(CheckpointError, match="it does not say 'format: tinygrad_gpt byte-level BPE 1'"):
            Tokenizer.load(tmp_path / "characters.json")
        assert "it does not say 'format: tinygrad_gpt characters 1'" in refusal(tmp_path / "bytes.json")

    @pytest.mark.parametrize(("content", "why"), [
        (b"", "it is not JSON"), (b"[" * 100_000, "it is not JSON"), (b"[]", "it does not say 'format: "),
        (b"{}", "it does not say 'format: "), (b"null", "it does not say 'format: "),
    ])
    def test_foreign_files(self, tmp_path, content, why):
        path = tmp_path / "foreign.json"
        path.write_bytes(content)
        assert why in refusal(path)
        with pytest.raises(CheckpointError, match=why):
            load_tokenizer(path)

    @pytest.mark.parametrize(("field", "value", "why"), [
        ("format", "tinygrad_gpt characters 2", "it does not say"),
        ("characters", None, "'characters' is not a string"),
        ("characters", ["a", "b"], "'characters' is not a string"),
        ("characters", "", "it has no characters"),
        ("characters", "abca", "it has a character twice"),
        ("characters", "a\ud800", "half a surrogate pair"),
        ("characters", "ab", "its digest is "),
        ("digest", None, "its digest is "),
        ("digest", "x" * 10_000, "its digest is "),
    ])
    def test_damaged_fields(self, letters, tmp_path, field, value, why):
        path = tmp_path / "vocab.json"
        letters.save(path)
        content = json.loads(path.read_bytes())
        path.write_text(json.dumps({**content, field: value}), encoding="utf-8")
        assert why in refusal(path)

    def test_no_flipped_bit_changes_a_character(self, letters, tmp_path):
        path = tmp_path / "vocab.json"
        letters.save(path)
        whole, draw, refused = path.read_bytes(), random.Random(0), 0
        for _ in range(500):
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            try:
                assert Characters.load(path) == letters
            except CheckpointError:
                refused += 1
        assert refused > 400

    def test_no_file(self, tmp_path):
        assert "no such file" in refusal(tmp_path / "absent.json")
        assert "not a regular file" in refusal(tmp_path)
