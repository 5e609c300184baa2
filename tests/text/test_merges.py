import hashlib
import lzma
from pathlib import Path

import pytest

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.text import Tokenizer, bpe, get_encoding, merges

HERE = Path("merges.txt")


def read(text):
    return merges.tokens_of(merges.parsed(text, HERE), HERE)


class TestShipped:
    def test_it_is_the_published_file(self, gpt2, shared_data):
        assert Tokenizer.from_pretrained(shared_data / "gpt2") == gpt2
        assert merges.to_text(gpt2.tokens) == (shared_data / "gpt2" / "vocab.bpe").read_bytes()

    def test_its_digests(self, gpt2):
        data = lzma.decompress(merges.SHIPPED.read_bytes())
        assert hashlib.sha256(data).hexdigest() == merges.GPT2_MERGES
        assert gpt2.digest == merges.GPT2_DIGEST

    def test_first_and_last_tokens(self, gpt2):
        assert list(gpt2.tokens[:256]) == bpe.single_bytes()
        assert gpt2.tokens[256:258] == (b" t", b" a")
        assert gpt2.tokens[-1] == b" gazed"

    def test_a_folder_of_that_name_wins(self, small, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        small.save_pretrained("gpt2")
        assert Tokenizer.from_pretrained("gpt2") == small

    def test_under_the_name_of_tiktoken(self, gpt2):
        assert get_encoding("gpt2") == gpt2
        assert get_encoding("gpt2").n_vocab == 50257

    def test_other_names_are_refused(self):
        with pytest.raises(UsageError, match=r"^unknown encoding 'cl100k_base': only 'gpt2' ships"):
            get_encoding("cl100k_base")


class TestText:
    def test_there_and_back(self, small):
        text = merges.to_text(small.tokens)
        windows, bare = text.replace(b"\n", b"\r\n"), text.removeprefix(b"#version: 0.2\n")
        for same in (text, windows, bare, text.removesuffix(b"\n")):
            assert read(same) == list(small.tokens)

    @pytest.mark.parametrize(("text", "why"), [
        (b"zzz a", "line 1 joins tokens that nothing before it made"), (b"a b\na b", "line 2 joins tokens"),
        (b"ab c\na b", "line 1 joins tokens"), (b"a", "line 1 is not two tokens and a space"),
        (b"a b c", "line 1 is not two tokens"), (b" ab", "line 1 "), ("a 漢".encode(), "line 1 is not two tokens"),
        (b"a \xff", "line 1 is not two tokens"), (b"a b\n\nab c", "line 2 is not two tokens"),
        (b"b c\na b\nab c", "it makes 'abc' otherwise than its earlier merges do"),  # they say a + bc
    ])
    def test_what_is_refused(self, text, why):
        with pytest.raises(CheckpointError) as caught:
            read(text)
        assert str(caught.value).startswith(f"cannot read the vocabulary (merges.txt): {why}")

    def test_tokens_that_double_are_refused_before_they_fill_the_memory(self):
        lines = [f"{'a' * 2**i} {'a' * 2**i}" for i in range(14)]
        with pytest.raises(CheckpointError, match="line 12 makes its tokens too long; use a vocabulary of words"):
            read("\n".join(lines).encode())

    @pytest.mark.parametrize("pair", [None, 7, "ab", ["a"], ["a", 1], ["a", "b", "c"], {"a": 1}])
    def test_a_merge_is_two_texts(self, pair):
        if pair == "ab":
            assert merges.merge("merge 1", pair, HERE) == ("merge 1", b"a", b"b")
        else:
            with pytest.raises(CheckpointError, match="merge 1 is not two tokens and a space"):
                merges.merge("merge 1", pair, HERE)

    @pytest.mark.parametrize(("tokens", "why"), [
        ([*sorted(bpe.single_bytes())], "(ids 0 to 255): they are not the single bytes"),
        ([*bpe.single_bytes(), b"abc"], "('abc'): the tokens before it cut it into 3 parts"),
    ])
    def test_vocabularies_without_merges(self, tokens, why):
        with pytest.raises(CheckpointError) as caught:
            merges.to_text(tokens)
        assert why in str(caught.value)
