"""Texts in numbers."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.recipes.pretraining.corpus import documents, encode_documents, load_vocabulary
from tinygrad_gpt.text import Characters, Tokenizer, WordPiece


def test_documents_stand_between_end_of_text_tokens():
    texts = list(documents("one\ntwo\n<|endoftext|>\n\n<|endoftext|>three"))
    assert texts == ["one\ntwo", "three"]
    tokenizer = tiny.language_model().tokenizer
    ids = encode_documents(tokenizer, texts)
    assert ids.dtype == np.uint16
    eot = tokenizer.eot_id
    assert ids.tolist() == [eot, *tokenizer.encode("one\ntwo"), eot, *tokenizer.encode("three"), eot]


def test_many_ids_need_four_bytes():
    class Large(Tokenizer):
        def __init__(self):
            self.eot_id, self.vocab_size = 65536, 65537

        def encode(self, text, *special):
            return [65535]

    ids = encode_documents(Large(), ["a"])
    assert ids.dtype == np.uint32
    assert ids.tolist() == [65536, 65535, 65536]


@pytest.mark.parametrize("tokenizer", [Tokenizer.train(["low lower lowest"], 260), Characters.train(["low"])])
def test_a_vocabulary_is_read_from_its_file(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "vocabulary.json")
    assert load_vocabulary(tmp_path / "vocabulary.json") == tokenizer


def test_a_vocabulary_is_read_from_merges(tmp_path):
    tokenizer = Tokenizer.train(["low lower lowest"], 260)
    tokenizer.save_pretrained(tmp_path)
    assert load_vocabulary(tmp_path) == tokenizer


def test_gpt2s_vocabulary_is_read_from_its_folder(shared_data):
    assert load_vocabulary(shared_data / "gpt2").vocab_size == 50257


def test_no_vocabulary_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.json"):
        with pytest.raises(CheckpointError, match="cannot") as caught:
            load_vocabulary(path)
        assert "\n" not in str(caught.value)


def test_the_vocabulary_of_a_bert_is_refused(tmp_path):
    WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]).save_pretrained(tmp_path)
    WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]).save(tmp_path / "own.json")
    for path in (tmp_path, tmp_path / "own.json"):
        with pytest.raises(UsageError, match=r"^cannot use the vocabulary \(.*\): WordPiece does not give texts back"):
            load_vocabulary(path)
