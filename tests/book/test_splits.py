"""The reference's two splits of the spam data, and what its author's figures were measured on."""

import numpy as np
import pytest

from tinygrad_gpt.book.splits import book_experiments_split, book_imdb_split, book_split, divide
from tinygrad_gpt.data.classification import LabelledTexts, read_labelled
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.text import Tokenizer


@pytest.fixture(scope="module")
def spam(shared_data):
    return read_labelled(str(shared_data / "spam" / "SMSSpamCollection"), quotes=True)


def test_with_quotes_the_file_has_the_rows_of_the_book(spam):
    assert spam.classes == ["ham", "spam"]
    assert np.bincount(spam.labels).tolist() == [4825, 747]
    assert str(spam.counts) == "5,574 lines read, 5,572 records, 0 skipped (2 inside quoted cells)"


@pytest.mark.parametrize(("split", "spams", "leaked"), [(book_split, [517, 79, 151], 37),
                                                        (book_experiments_split, [515, 73, 159], 36)])
def test_the_parts_are_those_of_the_book(split, spams, leaked, spam):
    parts = split(spam)
    rows = parts.train, parts.validation, parts.test
    assert [len(part) for part in rows] == [1045, 149, 300]
    assert [int(spam.labels[part].sum()) for part in rows] == spams
    assert len(set(np.concatenate(rows).tolist())) == 2 * 747
    assert (parts.leaked, parts.undersampled) == (leaked, 5572 - 1494)
    assert str(parts) == (f"4,078 rows left out to balance the classes; {leaked} of the test texts are in the "
                          "training part as well; 1,045 training, 149 validation, 300 test texts")


def test_the_two_splits_test_other_texts(spam):
    assert len(set(book_split(spam).test) & set(book_experiments_split(spam).test)) == 61


def test_the_longest_training_text_has_120_tokens(spam):
    tokenizer = Tokenizer.from_pretrained("gpt2")
    lengths = [len(tokenizer.encode(spam.texts[row])) for row in book_split(spam).train]
    assert (max(lengths), round(np.mean(lengths))) == (120, 30)


def test_the_larger_class_may_be_the_second():
    data = LabelledTexts([str(i) for i in range(40)], np.array([0] * 10 + [1] * 30), ["a", "b"])
    parts = book_split(data)
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.bincount(data.labels[rows]).tolist() == [10, 10]
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [14, 2, 4]


def test_three_classes_are_refused():
    data = LabelledTexts(list("abc"), np.arange(3), ["a", "b", "c"], file="mail.csv")
    with pytest.raises(DataError, match=r"3 classes \(mail.csv\): the book's split is for two; use the split by text"):
        book_split(data)


def test_film_reviews_are_shuffled_and_cut():
    texts = [f"review {i}" for i in range(50)]
    data = LabelledTexts(texts, np.arange(50) % 2, ["neg", "pos"], "imdb.csv", None)
    parts = book_imdb_split(data)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [35, 5, 10]
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(rows.tolist()) == list(range(50))
    assert np.array_equal(rows, np.random.RandomState(123).choice(50, 50, replace=False))
    assert np.array_equal(divide(data, "book-imdb", 0).test, parts.test)
