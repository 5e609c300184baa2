"""Texts and vocabularies shared by the tests of text/."""

import pytest

from tinygrad_gpt.text import Tokenizer, WordPiece


@pytest.fixture(scope="session")
def sms(shared_data):
    """All 5,574 messages of the SMS Spam Collection."""
    lines = (shared_data / "spam" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    return [line.split("\t", 1)[1] for line in lines]


@pytest.fixture(scope="session")
def gpt2():
    return Tokenizer.from_pretrained("gpt2")


@pytest.fixture(scope="session")
def small():
    """A vocabulary of 300 ids that needs no data."""
    return Tokenizer.train([
        "the cat that sat on the mat is not the cat's hat",
        "naïve café, 漢字 漢字 1990 1991",
        "(white)   space\n\n\n",
    ], 300)


@pytest.fixture(scope="session")
def small_ranks(small):
    return {token: rank for rank, token in enumerate(small.tokens)}


@pytest.fixture(scope="session")
def gpt2_ranks(gpt2):
    return {token: rank for rank, token in enumerate(gpt2.tokens)}


@pytest.fixture(scope="session")
def wordpiece():
    """A vocabulary of BERT's kind that needs no data: letters, signs, and pieces of a few words."""
    letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789éσςßøı漢字\u0301", *"!?.,'#[]$^—・«¿"]
    pieces = ["the", "una", "cat", "The", "Café", "cafe", "漢字", "##ffa", "##ble", "##ing", "don", "unk", "sep"]
    return WordPiece(["[PAD]", *(f"[unused{i}]" for i in range(3)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters,
                      *(f"##{letter}" for letter in letters), *pieces])


@pytest.fixture(scope="session")
def minilm(shared_data):
    """The vocabulary of all-MiniLM-L6-v2, which is that of uncased BERT."""
    return WordPiece.from_pretrained(shared_data / "models" / "minilm")
