"""The readable WordPiece: by hand, and beside the library tokenizers."""

import itertools
import lzma
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from soak import times

from tinygrad_gpt.text.wordpiece import Normalization, encode, encode_word, words

IDS = {token: i for i, token in enumerate(["[UNK]", "un", "una", "##aff", "##ffa", "##ble", "##able", "a", "##a"])}
UNCASED, CASED = Normalization(), Normalization(do_lower_case=False)
ALL = [Normalization(*options) for options in itertools.product([True, False], [None, True, False], [True, False])]


class TestWords:
    @pytest.mark.parametrize(("text", "expected"), [
        ("", []), (" \t\r\n\xa0\u2028", []), ("Hello,  World!", ["hello", ",", "world", "!"]),
        ("it's $5^2", ["it", "'", "s", "$", "5", "^", "2"]), ("a—b・c", ["a", "—", "b", "・", "c"]),
        ("naïve CAFÉ", ["naive", "cafe"]), ("İstanbul", ["istanbul"]), ("ΣΑΣ", ["σασ"]), ("Straße", ["straße"]),
        ("我a漢字", ["我", "a", "漢", "字"]), ("ひらカタ 한", ["ひらカタ", "\u1112\u1161\u11ab"]),
        ("a\x00b\ufffdc\u200bd\x85e\x0bf", ["abcdef"]), ("a\tb\nc\rd\u3000e", ["a", "b", "c", "d", "e"]),
        ("\ue000x\U0010fffd", ["x"]), ("[SEP]", ["[", "sep", "]"]), ("≠", ["="]), ("e\u0301", ["e"]),
        ("\u037e", [";"]), ("\u061d", ["\u061d"]), ("a\u061db", ["a\u061db"]),
    ])
    def test_uncased(self, text, expected):
        assert words(text, UNCASED) == expected

    @pytest.mark.parametrize(("text", "expected"), [
        ("Naïve CAFÉ", ["Naïve", "CAFÉ"]), ("e\u0301", ["e\u0301"]), ("[SEP]", ["[", "SEP", "]"]), ("ΣΑΣ", ["ΣΑΣ"]),
    ])
    def test_cased(self, text, expected):
        assert words(text, CASED) == expected

    def test_each_option_alone(self):
        text = "Été 漢字"
        assert words(text, Normalization(strip_accents=False)) == ["été", "漢", "字"]
        assert words(text, Normalization(do_lower_case=False, strip_accents=True)) == ["Ete", "漢", "字"]
        assert words(text, Normalization(tokenize_chinese_chars=False)) == ["ete", "漢字"]
        assert words("İ", Normalization(strip_accents=False)) == ["i\u0307"]

    def test_the_edges_of_the_chinese_blocks(self):
        edges = "\u33ff\u3400\u4dbf\u4dc0\u4dff\u4e00\u9fff\ua000"
        assert words(edges, UNCASED) == ["\u33ff", "\u3400", "\u4dbf", "\u4dc0\u4dff", "\u4e00", "\u9fff", "\ua000"]
        assert words("\U0002b81f\U0002b820\U0002b91f\U0002b920", UNCASED) == [
            "\U0002b81f", "\U0002b820\U0002b91f", "\U0002b920"]


class TestEncodeWord:
    @pytest.mark.parametrize(("word", "ids"), [
        ("una", [2]), ("unaffable", [2, 4, 5]), ("unable", [2, 5]), ("ununa", [0]), ("ble", [0]), ("unaffablex", [0]),
        ("a" * 100, [7] + [8] * 99), ("a" * 101, [0]),
    ])
    def test_the_longest_piece_from_the_left(self, word, ids):
        assert encode_word(word, IDS, 0) == ids

    def test_surrogates(self):
        assert encode("a\ud800", IDS, 0, UNCASED) == [7]
        assert encode("\ud83d\ude00", IDS, 0, UNCASED) == [0]


@pytest.fixture(scope="module")
def tokenizers():
    return pytest.importorskip("tokenizers", reason="tokenizers, the oracle, is not installed")


def library(tokenizers, ids, normalization):
    """BERT's tokenizer as the library builds it, without special tokens."""
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    theirs.normalizer = tokenizers.normalizers.BertNormalizer(
        True, normalization.tokenize_chinese_chars, normalization.strip_accents, normalization.do_lower_case)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return theirs


@pytest.fixture(scope="module")
def theirs(tokenizers, wordpiece):
    ids = {token: i for i, token in enumerate(wordpiece.vocabulary)}
    return {normalization: library(tokenizers, ids, normalization) for normalization in ALL}


class TestBesideTheLibrary:
    def agree(self, wordpiece, theirs, text):
        ids = {token: i for i, token in enumerate(wordpiece.vocabulary)}
        for normalization in ALL:
            expected = theirs[normalization].encode(text, add_special_tokens=False).ids
            assert encode(text, ids, 4, normalization) == expected, (text, normalization)

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_any_text(self, wordpiece, theirs, text):
        self.agree(wordpiece, theirs, text)

    @given(st.lists(st.sampled_from([*"aAéÉeΣσςßİıØ漢字あ !?.,'-#[]$^—\u0301\u0323\x00\x0b\x85\xa0\u200b\u2028\u061d",
                                     "una", "ffable", "The", "[UNK]", "[SEP]", "##ing", "a" * 99, "\U0001f600"])))
    def test_texts_of_what_matters(self, wordpiece, theirs, pieces):
        self.agree(wordpiece, theirs, "".join(pieces))

    @pytest.mark.parametrize("normalization", [UNCASED, CASED, Normalization(strip_accents=False)])
    def test_every_character(self, tokenizers, normalization):
        """One word for each character with a letter before it and behind it."""
        theirs = library(tokenizers, {"[UNK]": 0}, normalization)
        decomposed = tokenizers.normalizers.BertNormalizer(False, False, True, False).normalize_str
        points = [*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7A0, 0xD800), *range(0xE000, 0xE010),
                  *range(0xF8F0, 0x13500), *range(0x16000, 0x17000), *range(0x1BC00, 0x20000), *range(0xE0000, 0xE0200)]
        # Without letters so new that only one of the two has their small form, or their accent apart.
        known = [c for c in map(chr, points)
                 if (unicodedata.category(c) != "Cn" or theirs.normalizer.normalize_str(c) == c)
                 and (unicodedata.normalize("NFD", c) == c or decomposed(c) != c)]
        assert len(known) > 44_000
        text = "\n".join(f"a{c}b" for c in known)
        parts = theirs.pre_tokenizer.pre_tokenize_str(theirs.normalizer.normalize_str(text))
        assert words(text, normalization) == [part for part, _ in parts]

    def test_messages_and_headlines(self, tokenizers, minilm, sms, shared_data):
        ids = {token: i for i, token in enumerate(minilm.vocabulary)}
        theirs = library(tokenizers, ids, UNCASED)
        classify = shared_data / "classify"
        texts = sms[::times(4, 1)]
        for name in ("banking77/test.csv", "rt_polarity/rt-polarity.pos", "imdb/test.csv.xz"):
            path = next(classify.glob(f"{name}*"))
            data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
            texts += data.decode("utf-8", "replace").split("\n")[:times(300, 10**9)]
        assert len(texts) > 1900
        for text in texts:
            assert encode(text, ids, 100, UNCASED) == theirs.encode(text, add_special_tokens=False).ids, text
