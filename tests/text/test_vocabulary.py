import json
import random

import pytest

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text import vocabulary


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
        assert vocabulary.read_json(saved) == (list(small.tokens), small.layout)
        assert vocabulary.to_json(*vocabulary.read_json(saved)) == saved.read_bytes()

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
                assert vocabulary.read_json(saved) == (list(small.tokens), small.layout)
            except CheckpointError:
                refused += 1
        assert refused > 400

    @pytest.mark.parametrize(("name", "why"), [
        ("absent.json", "no such file or directory"), (".", "it is not a regular file"), ("a\0b", "no such file"),
    ])
    def test_no_file(self, tmp_path, name, why):
        assert why in refusal(vocabulary.read_json, tmp_path / name)
