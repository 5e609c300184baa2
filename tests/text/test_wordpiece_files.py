"""Vocabularies of published BERTs: as transformers reads them, or refused with what is wrong."""

import json
import random
import shutil

import pytest
from refusals import refusal_of

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text import Tokenizer, WordPiece, read_tokenizer
from tinygrad_gpt.text.pretrained import has_vocabulary
from tinygrad_gpt.text.wordpiece import Normalization
from tinygrad_gpt.text.wordpiece_files import bert_layout, is_wordpiece

TEXTS = ["The unaffable cat's café, 漢字!", "[CLS] a [MASK] b[SEP]", "naïve ÉTÉ", "", "don't unk [UNK]", "x☃y z"]


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def changed(path, place, value):
    content = part = json.loads(path.read_bytes())
    *names, last = place.split(".")
    for name in names:
        part = part[name]
    part[last] = value
    write(path, content)


@pytest.fixture
def folder(wordpiece, tmp_path):
    """vocab.txt alone, as Google published it."""
    wordpiece.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    return tmp_path / "model"


@pytest.fixture
def whole(wordpiece, tmp_path):
    """tokenizer.json and tokenizer_config.json, as transformers 5 writes them."""
    wordpiece.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "vocab.txt").unlink()
    return tmp_path / "whole"


def refused(folder):
    message = refusal_of(WordPiece.from_pretrained, folder)
    assert message.startswith(f"cannot read the vocabulary ({folder}")
    return message


class TestLines:
    def test_there_and_back(self, folder, wordpiece):
        assert [path.name for path in folder.iterdir()] == ["vocab.txt"]
        assert is_wordpiece(folder)
        assert has_vocabulary(folder)
        assert read_tokenizer(folder) == WordPiece.from_pretrained(folder) == wordpiece

    @pytest.mark.parametrize("change", [
        lambda data: data.replace(b"\n", b"\r\n"), lambda data: data.rstrip(b"\n"), lambda data: data + b"\n\n",
        lambda data: b"\xef\xbb\xbf" + data,
    ])
    def test_ways_to_write_lines(self, folder, wordpiece, change):
        path = folder / "vocab.txt"
        path.write_bytes(change(path.read_bytes()))
        assert WordPiece.from_pretrained(folder) == wordpiece

    def test_tokens_that_look_like_ends_of_lines(self, folder, wordpiece):
        with (folder / "vocab.txt").open("a", encoding="utf-8", newline="") as file:
            file.write("\u2028\n\x85\n")
        assert WordPiece.from_pretrained(folder).vocabulary == (*wordpiece.vocabulary, "\u2028", "\x85")

    @pytest.mark.parametrize(("data", "why"), [
        (b"[PAD]\n[UNK]\n", "it lacks '[CLS]'"), (b"", "it lacks '[CLS]'"), (b"\xff\xfe", "it is not UTF-8"),
        (b"a\nb\na\n", "it has 'a' twice"),
    ])
    def test_what_is_refused(self, folder, data, why):
        (folder / "vocab.txt").write_bytes(data)
        assert why in refused(folder)

    def test_no_file(self, folder):
        (folder / "vocab.txt").unlink()
        assert not is_wordpiece(folder)
        assert not has_vocabulary(folder)
        assert "vocab.txt): no such file or directory" in refused(folder)

    def test_a_vocabulary_like_gpt2s_is_none(self, small, tmp_path):
        small.save_pretrained(tmp_path)
        assert not is_wordpiece(tmp_path)
        assert type(read_tokenizer(tmp_path)) is Tokenizer
        assert read_tokenizer(tmp_path) == small


class TestSettings:
    @pytest.mark.parametrize(("config", "expected"), [
        ({}, Normalization()), ({"do_lower_case": False}, Normalization(False)),
        ({"strip_accents": True, "tokenize_chinese_chars": False}, Normalization(True, True, False)),
        ({"strip_accents": None}, Normalization()),
    ])
    def test_of_tokenizer_config(self, folder, config, expected):
        write(folder / "tokenizer_config.json", config)
        assert WordPiece.from_pretrained(folder).normalization == expected

    def test_the_config_has_the_last_word(self, whole):
        changed(whole / "tokenizer.json", "normalizer.lowercase", False)
        assert WordPiece.from_pretrained(whole).normalization == Normalization(True)
        (whole / "tokenizer_config.json").unlink()
        assert WordPiece.from_pretrained(whole).normalization == Normalization(False)

    def test_other_names(self, folder, wordpiece):
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").replace("[CLS]", "<s>").replace("[SEP]", "</s>")
        (folder / "vocab.txt").write_text(lines, encoding="utf-8")
        write(folder / "special_tokens_map.json", {"cls_token": "<s>", "sep_token": {"content": "</s>"}})
        read = WordPiece.from_pretrained(folder)
        assert (read.cls_id, read.sep_id) == (wordpiece.cls_id, wordpiece.sep_id)
        assert read.special.keys() == {"<s>", "</s>", "[MASK]", "[PAD]", "[UNK]"}
        write(folder / "special_tokens_map.json", {"cls_token": "<t>"})
        assert "it lacks '<t>'; use the model by ids" in refused(folder)

    def test_added_tokens(self, folder, wordpiece):
        n = wordpiece.vocab_size
        write(folder / "added_tokens.json", {"covid": n})
        write(folder / "tokenizer_config.json", {"added_tokens_decoder": {str(n + 1): {"content": "<user>"}}})
        read = WordPiece.from_pretrained(folder)
        assert (read.special["covid"], read.special["<user>"], read.vocab_size) == (n, n + 1, n + 2)
        assert read.encode("a covid<user>", {"covid", "<user>"}) == [*read.encode("a"), n, n + 1]
        assert n not in read.encode("a covid")
        write(folder / "added_tokens.json", {"covid": n + 4})
        assert f"no token has id {n}" in refused(folder)
        write(folder / "added_tokens.json", {"the": n})
        assert "its token 'the' has id " in refused(folder)

    @pytest.mark.parametrize(("name", "content", "why"), [
        ("tokenizer_config.json", [], "it is not a JSON object"), ("special_tokens_map.json", 7, "not a JSON object"),
        ("tokenizer_config.json", {"do_lower_case": "yes"}, "do_lower_case is 'yes', not true or false"),
        ("tokenizer_config.json", {"strip_accents": 0}, "strip_accents is 0, not true or false"),
        ("tokenizer_config.json", {"tokenize_chinese_chars": None}, "tokenize_chinese_chars is None, not true"),
    ])
    def test_what_is_refused(self, folder, name, content, why):
        write(folder / name, content)
        assert why in refused(folder)


class TestWhole:
    """tokenizer.json, alone and beside vocab.txt."""

    def test_there_and_back(self, whole, wordpiece):
        assert is_wordpiece(whole)
        assert read_tokenizer(whole) == wordpiece

    def test_beside_vocab_txt(self, whole, folder, wordpiece):
        shutil.copy(folder / "vocab.txt", whole)
        assert WordPiece.from_pretrained(whole) == wordpiece
        lines = (whole / "vocab.txt").read_text(encoding="utf-8")
        (whole / "vocab.txt").write_text(lines.replace("\nthe\n", "\nthf\n"), encoding="utf-8")
        assert "vocab.txt has other ids for 2 tokens, the first is 'the'; remove the wrong file" in refused(whole)

    @pytest.mark.parametrize(("place", "value", "why"), [
        ("model", None, "it has no model"), ("model.vocab", [], "it is not a map of tokens to ids"),
        ("model.type", "WordLevel", "model.type is 'WordLevel', and only 'WordPiece' is read"),
        ("model.continuing_subword_prefix", "@@", "model.continuing_subword_prefix is '@@'"),
        ("model.max_input_chars_per_word", 200, "model.max_input_chars_per_word is 200, and only 100"),
        ("normalizer", None, "normalizer is None, and only 'BertNormalizer'"), ("normalizer", 7, "is 'no object'"),
        ("normalizer.clean_text", False, "normalizer.clean_text is False"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer is 'Whitespace'"),
        ("added_tokens", [7], "an added token is not one"),
        ("added_tokens", [{"id": 300, "content": "<x>"}], "no token has id "),
        ("added_tokens", [{"id": 300, "content": "the"}], "its token 'the' has id "),
    ])
    def test_what_would_give_other_ids_is_refused(self, whole, place, value, why):
        changed(whole / "tokenizer.json", place, value)
        assert why in refused(whole)

    @pytest.mark.parametrize("content", [None, [], 7, {}])
    def test_other_json_is_refused(self, whole, content):
        write(whole / "tokenizer.json", content)
        assert "it has no model" in refused(whole)


def test_tokens_that_are_no_lines_are_not_written(wordpiece, tmp_path):
    with pytest.raises(CheckpointError, match=r"^cannot write vocab.txt \('a\\nb'\): the token is not one line; "):
        WordPiece([*wordpiece.vocabulary, "a\nb"]).save_pretrained(tmp_path)


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")


class TestWithTransformers:
    def agree(self, ours, theirs):
        assert (len(theirs), theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id, theirs.pad_token_id) == (
            ours.vocab_size, ours.cls_id, ours.sep_id, ours.mask_id, ours.pad_id)
        draw = random.Random(0)
        texts = ["".join(draw.choices("the unaffable CAT's  \n\t(漢字éÉ9)\x00\x85 [MASK]", k=draw.randrange(60)))
                 for _ in range(300)] + TEXTS
        texts += [ours.decode(draw.choices(range(ours.vocab_size), k=20)) for _ in range(100)]
        for text in texts:
            assert theirs(text)["input_ids"] == ours.encode_sequence(text, allowed_special="all"), text
            assert theirs(text, truncation=True, max_length=8)["input_ids"] == ours.encode_sequence(text, 8, "all")
            if not ours.special_in([text]):
                assert theirs(text)["input_ids"] == ours.encode_sequence(text)

    @pytest.mark.parametrize("normalization", [Normalization(), Normalization(False), Normalization(True, False, False),
                                               Normalization(False, True)])
    def test_what_we_write(self, transformers, wordpiece, tmp_path, normalization):
        ours = WordPiece(wordpiece.vocabulary, bert_layout(wordpiece.vocabulary, added=["[unused0]"]), normalization)
        assert ours.save_pretrained(tmp_path) == ["vocab.txt", "tokenizer.json", "tokenizer_config.json"]
        assert WordPiece.from_pretrained(tmp_path) == ours
        self.agree(ours, transformers.BertTokenizer.from_pretrained(tmp_path))
        self.agree(ours, transformers.AutoTokenizer.from_pretrained(tmp_path))

    @pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"strip_accents": False},
                                          {"tokenize_chinese_chars": False}])
    def test_what_transformers_writes(self, transformers, folder, tmp_path, settings):
        theirs = transformers.BertTokenizer.from_pretrained(folder, **settings)
        theirs.add_special_tokens({"additional_special_tokens": ["<e1>", "<e2>"]})
        theirs.save_pretrained(tmp_path / "new")
        ours = WordPiece.from_pretrained(tmp_path / "new")
        assert set(ours.special) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<e1>", "<e2>"}
        self.agree(ours, theirs)

    def test_vocab_txt_alone(self, transformers, folder):
        self.agree(WordPiece.from_pretrained(folder), transformers.BertTokenizer.from_pretrained(folder))
        self.agree(WordPiece.from_pretrained(folder), transformers.DistilBertTokenizer.from_pretrained(folder))
