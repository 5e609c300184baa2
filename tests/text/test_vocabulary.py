import hashlib
import json
import lzma
import random
import shutil

import pytest

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.text import Tokenizer, bpe, get_encoding, vocabulary


@pytest.fixture
def saved(small, tmp_path):
    path = tmp_path / "vocab.json"
    path.write_bytes(vocabulary.to_json(small.tokens))
    return path


def refusal(read, path):
    """Return the reason; the message is one line and names the file."""
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith("cannot read the vocabulary (")
    assert "\n" not in message
    assert ": " in message
    assert "; " in message
    return message


class TestJson:
    def test_there_and_back(self, saved, small):
        assert vocabulary.read_json(saved) == list(small.tokens)
        assert vocabulary.to_json(vocabulary.read_json(saved)) == saved.read_bytes()

    def test_it_is_written_as_gpt2_writes_tokens(self, saved):
        assert json.loads(saved.read_text(encoding="utf-8"))["tokens"][220] == "Ġ"

    @pytest.mark.parametrize(("content", "why"), [
        (b"", "it is not JSON"),
        (b"\x89HDF\r\n\x1a\n", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"9" * 10_000, "it is not JSON"),
        (b"[]", "it does not say 'format: "),
        (b'{"the": 1}', "it does not say 'format: "),
        (b"null", "it does not say 'format: "),
        (b" " * (vocabulary.MAX_BYTES + 1), "it is larger than 16 MiB"),
    ])
    def test_foreign_files(self, tmp_path, content, why):
        path = tmp_path / "foreign.json"
        path.write_bytes(content)
        assert f"foreign.json): {why}" in refusal(vocabulary.read_json, path)

    @pytest.mark.parametrize(("field", "value", "why"), [
        ("format", "tinygrad_gpt byte-level BPE 2", "it does not say"),
        ("tokens", None, "'tokens' is not a list of strings"),
        ("tokens", ["a", 1], "'tokens' is not a list of strings"),
        ("tokens", ["a b"], "' ' stands for no byte"),
        ("tokens", ["\ud800"], r"'\ud800' stands for no byte"),
        ("tokens", ["a", "b"], "its digest is "),
        ("digest", None, "its digest is "),
        ("digest", "x" * 10_000, "its digest is "),
    ])
    def test_damaged_fields(self, saved, field, value, why):
        content = json.loads(saved.read_bytes())
        content[field] = value
        saved.write_text(json.dumps(content), encoding="utf-8")
        message = refusal(vocabulary.read_json, saved)
        assert why in message
        assert len(message) < 400

    def test_a_right_digest_does_not_make_it_a_vocabulary(self, tmp_path):
        path = tmp_path / "vocab.json"
        path.write_bytes(vocabulary.to_json([b"a", b"a"]))
        assert "it has a token twice" in refusal(vocabulary.read_json, path)

    def test_no_cut_file_is_read(self, saved):
        whole = saved.read_bytes()
        for length in range(0, len(whole) - 2, 31):
            saved.write_bytes(whole[:length])
            assert "it is not JSON" in refusal(vocabulary.read_json, saved)

    def test_no_flipped_bit_changes_a_token(self, saved, small):
        whole, draw, refused = saved.read_bytes(), random.Random(0), 0
        for _ in range(500):
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            saved.write_bytes(damaged)
            try:  # a flip in white space, or from one notation of a letter to another, may leave the content as it was
                assert vocabulary.read_json(saved) == list(small.tokens)
            except CheckpointError:
                refused += 1
        assert refused > 400

    @pytest.mark.parametrize(("name", "why"), [
        ("absent.json", "no such file or directory"), (".", "it is not a regular file"), ("a\0b", "no such file"),
    ])
    def test_no_file(self, tmp_path, name, why):
        assert why in refusal(vocabulary.read_json, tmp_path / name)


class TestGpt2:
    def test_names_of_hugging_face(self, gpt2, shared_data, tmp_path):
        shutil.copy(shared_data / "gpt2" / "vocab.bpe", tmp_path / "merges.txt")
        shutil.copy(shared_data / "gpt2" / "encoder.json", tmp_path / "vocab.json")
        assert Tokenizer.from_pretrained(tmp_path) == gpt2

    def test_first_and_last_tokens(self, gpt2):
        assert list(gpt2.tokens[:256]) == bpe.single_bytes()
        assert gpt2.tokens[256:258] == (b" t", b" a")
        assert gpt2.tokens[-1] == b" gazed"


class TestShipped:
    def test_it_is_the_published_file(self, gpt2, shared_data):
        assert Tokenizer.from_pretrained(shared_data / "gpt2") == gpt2

    def test_its_digest(self):
        data = lzma.decompress(vocabulary.SHIPPED.read_bytes())
        assert hashlib.sha256(data).hexdigest() == vocabulary.GPT2_MERGES

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


class TestMerges:
    @pytest.fixture
    def folder(self, small, tmp_path):
        small.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    def test_there_and_back(self, folder, small):
        assert sorted(path.name for path in folder.iterdir()) == ["merges.txt", "vocab.json"]
        assert Tokenizer.from_pretrained(folder) == small

    def test_gpt2s_own_files_come_out_byte_for_byte(self, gpt2, shared_data):
        files = vocabulary.to_merges(gpt2.tokens)
        assert files["merges.txt"] == (shared_data / "gpt2" / "vocab.bpe").read_bytes()
        assert files["vocab.json"] == (shared_data / "gpt2" / "encoder.json").read_bytes()

    def test_names_of_openai_and_line_ends_of_windows(self, folder, small):
        (folder / "vocab.json").rename(folder / "encoder.json")
        merges = (folder / "merges.txt").read_bytes()
        (folder / "merges.txt").unlink()
        (folder / "vocab.bpe").write_bytes(merges.replace(b"\n", b"\r\n"))
        assert vocabulary.has_merges(folder)
        assert Tokenizer.from_pretrained(folder) == small

    def test_no_files(self, folder):
        (folder / "vocab.json").unlink()
        assert vocabulary.has_merges(folder)
        assert "vocab.json): no such file or directory" in refusal(vocabulary.read_merges, folder)
        (folder / "merges.txt").unlink()
        assert not vocabulary.has_merges(folder)
        assert "merges.txt): no such file or directory" in refusal(vocabulary.read_merges, folder)

    @pytest.mark.parametrize(("change", "why"), [
        (lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], "its ids are not the order of merges.txt"),
        (lambda lines: lines[1:], None),  # the version may be missing
        (lambda lines: lines[:-2], "its ids are not the order of merges.txt"),
        (lambda lines: [lines[0], "zzz a", *lines[1:]], "line 2 joins tokens that no line before it made"),
        (lambda lines: [lines[0], lines[1], lines[1], *lines[2:]], "line 3 joins tokens that no line before it made"),
        (lambda lines: [lines[0], "a", *lines[1:]], "line 2 is not two tokens and a space"),
        (lambda lines: [lines[0], "a b c", *lines[1:]], "line 2 is not two tokens and a space"),
        (lambda lines: [lines[0], " ab", *lines[1:]], "line 2 "),
        (lambda lines: [lines[0], "a 漢", *lines[1:]], "line 2 is not two tokens and a space"),
        (lambda lines: [lines[0], "", *lines[1:]], "line 2 is not two tokens and a space"),
    ])
    def test_other_merges(self, folder, small, change, why):
        path = folder / "merges.txt"
        path.write_text("\n".join(change(path.read_text(encoding="utf-8").split("\n"))), encoding="utf-8")
        if why is None:
            assert Tokenizer.from_pretrained(folder) == small
        else:
            assert why in refusal(vocabulary.read_merges, folder)

    @pytest.mark.parametrize("change", [
        lambda ids: {"<|endoftext|>": 0} | {token: i + 1 for token, i in ids.items() if token != "<|endoftext|>"},
        lambda ids: ids | {"<pad>": len(ids)}, lambda ids: {}, lambda ids: list(ids), lambda ids: None,
    ])
    def test_other_ids(self, folder, change):
        path = folder / "vocab.json"
        path.write_text(json.dumps(change(json.loads(path.read_bytes()))))
        assert "with <|endoftext|> last; use a vocabulary that was made as GPT-2's" in refusal(
            vocabulary.read_merges, folder)

    def test_merges_that_ranks_do_not_tell(self, tmp_path):
        """`bc` is learned before `abc`, so the ranks say `a`+`bc`; the file says `ab`+`c`."""
        tokens = [*bpe.single_bytes(), b"bc", b"ab", b"abc"]
        files = vocabulary.to_merges(tokens)
        for name, data in files.items():
            (tmp_path / name).write_bytes(data.replace(b"a bc", b"ab c"))
        assert "it makes 'abc' otherwise than its earlier merges do" in refusal(vocabulary.read_merges, tmp_path)

    @pytest.mark.parametrize(("tokens", "why"), [
        ([*sorted(bpe.single_bytes())], "(ids 0 to 255): they are not the single bytes"),
        ([*bpe.single_bytes(), b"abc"], "('abc'): the tokens before it cut it into 3 parts"),
    ])
    def test_vocabularies_without_merges(self, tokens, why):
        with pytest.raises(CheckpointError) as caught:
            vocabulary.to_merges(tokens)
        assert why in str(caught.value)

    def test_transformers_finds_the_same_ids(self, folder, small):
        transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
        theirs = transformers.GPT2TokenizerFast.from_pretrained(folder)
        assert (len(theirs), theirs.eos_token_id) == (small.vocab_size, small.eot_id)
        draw = random.Random(0)
        letters = "the cat sat on mat's  \n\t(漢é9)\x00\x85"
        texts = ["".join(draw.choices(letters, k=draw.randrange(60))) for _ in range(500)]
        texts += [small.decode(draw.choices(range(small.eot_id), k=20)) for _ in range(500)]
        for text in texts:
            assert theirs(text)["input_ids"] == small.encode(text), text
