"""The table of the book's experiments."""

import pytest

from tinygrad_gpt.book.experiments import IMDB, ROWS, rows_named, seeds_named
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.experiments.experiments import BOOK, ExperimentsConfig, run_config

CONFIG = ExperimentsConfig("sms", base="base.h5")


def test_every_row_of_the_reference_is_there():
    assert [row.number for row in ROWS] == list(range(1, 20))
    assert len({row.name for row in ROWS}) == 19


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_its_accuracies_are_shares_of_the_texts_that_it_judged(row):
    # 1,045 training texts, of which its loader drops the last five.
    for accuracy, count in ((row.train, 1040), (row.validation, 149), (row.test, 300)):
        right = round(accuracy * count / 100)
        assert abs(100 * right / count - accuracy) <= 0.0051


def test_rows_that_differ_in_the_size_of_the_model_only_are_one_run_on_one_base():
    runs = {}
    for row in ROWS:
        runs.setdefault(run_config(CONFIG, row, 123), []).append(row.number)
    assert [rows for rows in runs.values() if len(rows) > 1] == [[1, 6, 7, 8, 18], [5, 9]]


def test_row_ten_is_the_reference_s():
    run = run_config(CONFIG, ROWS[9], 123)
    assert (run.base, run.vocabulary, run.init, run.train, run.seed, run.split, run.order) == (
        "random", "gpt2", "book", "all", 123, "book-experiments", "book")
    assert (run.n_ctx, run.n_embd, run.n_layer, run.n_head) == (1024, 768, 12, 12)
    assert (run.context, run.padding, run.read, run.no_start) == ("longest", "fixed", "last", True)
    assert (run.epochs, run.batch_size, run.lr, run.schedule, run.weight_decay, run.decay) == (
        5, 8, 5e-5, "constant", 0.1, "all")
    assert (run.dropout, run.lm_weight) == (0, 0)


def test_what_is_asked_for_reaches_every_run():
    config = ExperimentsConfig("sms", "base.h5", "vocabulary", epochs=2, lr=0.5)
    for row in ROWS:
        run = run_config(config, row, 7)
        assert (run.data, run.epochs, run.lr, run.seed) == ("sms", 2, 0.5, 7)
        assert (run.base, run.vocabulary) == (("random", "vocabulary") if row.number == 10 else ("base.h5", None))


def test_the_multiplier_of_lora_is_the_reference_s():
    lora, large = (run_config(CONFIG, ROWS[i], 123) for i in (10, 11))
    assert (lora.alpha / lora.rank, large.alpha / large.rank) == (16, 8)
    assert "score" in lora.targets.split(",")


def test_the_rows_of_film_reviews():
    assert [(row.number, row.model, row.test) for row in IMDB] == [
        (20, "gpt2", 91.88), (21, "bert-base-uncased", 90.89), (22, "distilbert-base-uncased", 91.40),
        (23, "roberta-large", 94.69)]
    for row in IMDB:
        run = run_config(CONFIG, row, 7)
        assert (run.split, run.train, run.epochs, run.context, run.seed) == ("book-imdb", "all", 1, "256", 7)
    assert [run_config(CONFIG, row, 7).read for row in IMDB] == ["last-real", "first", "first", "first"]


@pytest.mark.parametrize(("text", "numbers"), [
    ("1-19", list(range(1, 20))), ("10", [10]), ("5, 1-3,2", [1, 2, 3, 5]), ("mean,head", [3, 19]),
    ("random,4", [4, 10]), ("19-21,imdb-roberta", [19, 20, 21, 23]),
])
def test_rows_are_named_by_number_range_or_word(text, numbers):
    assert [row.number for row in rows_named(text)] == numbers


@pytest.mark.parametrize("text", ["", "0", "24", "22-24", "3-1", "1,,2", "-3", "1.5", "mode", "٣", "1-2-3"])
def test_rows_that_do_not_exist_are_refused(text):
    with pytest.raises(UsageError, match="give numbers from 1 to 23, ranges such as 1-5, or names: last-block"):
        rows_named(text)


def test_seeds():
    assert seeds_named("123, 7,123") == (123, 7)
    assert seeds_named(str(BOOK.seed)) == (123,)
    for text in ("", "a", "-1", "1.5", "1,,2", "٣"):
        with pytest.raises(UsageError, match="give whole numbers from 0 on"):
            seeds_named(text)
