from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.text import bpe

# Enough likeness between words for many ties, and runs of one letter, where pairs overlap.
corpora = st.lists(st.text(alphabet="aaab c", max_size=30), max_size=6)


def recounting_train(texts, vocab_size):
    """Sennrich's algorithm 1, word for word: count every pair again before each merge."""
    words = Counter(tuple(bytes([b]) for b in word.encode()) for text in texts for word in bpe._pattern().findall(text))
    tokens = bpe.single_bytes()
    while len(tokens) < vocab_size:
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], tokens.index(pair[0]), tokens.index(pair[1])))
        tokens.append(best[0] + best[1])
        joined = Counter()
        for word, count in words.items():
            joined[join(word, best)] += count
        words = joined
    return tokens


def join(word, pair):
    parts, i = [], 0
    while i < len(word):
        step = 2 if word[i : i + 2] == pair else 1
        parts.append(b"".join(word[i : i + step]))
        i += step
    return tuple(parts)


class TestTrain:
    def test_the_example_of_sennrich_by_hand(self):
        # e+s 9 times before s+t 9 times (lower rank), l+o before o+w (7), e+w before n+e and w+est (6) …
        texts = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
        assert bpe.train(texts, 263)[256:] == [b"es", b"est", b"lo", b"low", b"ew", b"new", b"newest"]

    @settings(deadline=None)
    @given(corpora)
    def test_kept_counts_give_what_recounting_gives(self, texts):
        assert bpe.train(texts, 280) == recounting_train(texts, 280)

    @settings(deadline=None)
    @given(corpora)
    def test_each_token_joins_two_that_the_earlier_ones_find(self, texts):
        tokens = bpe.train(texts, 300)
        assert len(set(tokens)) == len(tokens)
        for rank in range(256, len(tokens)):
            earlier = {token: i for i, token in enumerate(tokens[:rank])}
            assert len(bpe.encode_word(tokens[rank], earlier)) == 2

    def test_ties_do_not_depend_on_the_order_of_texts(self, sms):
        assert bpe.train(sms[:1000], 600) == bpe.train(sorted(sms[:1000]), 600)

    def test_the_corpus_is_read_once_and_one_text_at_a_time(self):
        assert bpe.train((text for text in ["ab ab", "ab"]), 257)[256:] == [b"ab"]

    def test_no_token_reaches_across_words(self, sms):
        learned = bpe.train(sms, 1000)[256:]
        whole = [token.decode() for token in learned if token.isascii()]
        assert len(whole) > 700
        assert all(bpe._pattern().findall(token) == [token] for token in whole)

    def test_a_small_corpus_gives_fewer_tokens(self):
        assert bpe.train(["abc"], 1000)[256:] == [b"ab", b"abc"]
        assert bpe.train([], 1000) == bpe.single_bytes()

    def test_surrogates_are_replaced(self):
        assert bpe.train(["\ud800\ud800 \ud83d\ude00"], 260)[256:] == bpe.train(["\ufffd\ufffd 😀"], 260)[256:]

    def test_too_few_tokens_are_refused(self):
        with pytest.raises(UsageError, match=r"vocab_size 255\): the 256 single bytes come first; ask for 256 or more"):
            bpe.train(["a"], 255)

    def test_agrees_with_the_trainer_of_hugging_face(self, sms):
        tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is not installed")
        oracle = tokenizers.Tokenizer(tokenizers.models.BPE())
        oracle.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        oracle.train_from_iterator(sms, tokenizers.trainers.BpeTrainer(
            vocab_size=4096, initial_alphabet=alphabet, show_progress=False))
        by_id = sorted(oracle.get_vocab(), key=oracle.get_vocab().get)
        byte_of = dict(zip(sorted(alphabet), bpe.single_bytes(), strict=True))
        assert bpe.train(sms, 4096) == [b"".join(byte_of[c] for c in token) for token in by_id]


class TestSingleBytes:
    def test_order_of_gpt2(self):
        order = bpe.single_bytes()
        assert order[:3] == [b"!", b'"', b"#"]
        assert order[93:95] == [b"~", b"\xa1"]
        assert order[187:190] == [b"\xff", b"\x00", b"\x01"]
        assert order[220] == b" "
        assert len(set(order)) == 256


class TestEncode:
    @pytest.mark.parametrize(("text", "ids"), [
        ("", []),
        ("abc", [258]),
        ("abcb", [258, 65]),
        ("bcc", [257, 66]),
        ("a b", [64, 220, 65]),
    ])
    def test_by_hand(self, text, ids):
        tokens = [*bpe.single_bytes(), b"ab", b"bc", b"abc"]
        assert bpe.encode(text, {token: rank for rank, token in enumerate(tokens)}) == ids

    @pytest.mark.parametrize(("text", "words"), [
        ("Hello world", ["Hello", " world"]),
        ("it's we'll '90s", ["it", "'s", " we", "'ll", " '", "90", "s"]),
        ("a  b", ["a", " ", " b"]),
        ("a\n\n b \n", ["a", "\n\n", " b", " \n"]),
        ("x\x1cy", ["x", "\x1c", "y"]),  # Python calls it a space, Unicode does not
        ("né2½ ...", ["né", "2½", " ..."]),
    ])
    def test_words(self, text, words):
        assert bpe._pattern().findall(text) == words

    @settings(deadline=None)
    @given(st.text(st.characters()))
    def test_words_leave_nothing_out(self, text):
        assert "".join(bpe._pattern().findall(text)) == text

    def test_the_short_pattern_of_gpt2_cuts_alike(self, sms):
        import regex

        published = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
        assert all(published.findall(text) == bpe._pattern().findall(text) for text in sms)


class TestDecode:
    def test_bytes_join_across_tokens(self):
        tokens = bpe.single_bytes()
        ids = [tokens.index(bytes([b])) for b in "é漢😀".encode()]
        assert bpe.decode(ids, tokens) == "é漢😀"
        assert bpe.decode(ids[:-1], tokens) == "é漢\ufffd"
        assert bpe.decode([], tokens) == ""


class TestWellFormed:
    @pytest.mark.parametrize(("text", "expected"), [
        ("plain", "plain"),
        ("\ud800", "\ufffd"),
        ("a\udfffb", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\ufeffx", "\ufeffx"),
    ])
    def test_surrogates(self, text, expected):
        assert bpe.well_formed(text) == expected

    @settings(deadline=None)
    @given(st.text())
    def test_valid_text_stays(self, text):
        assert bpe.well_formed(text) == text
