"""Windows with their targets one token later, drawn by (seed, step)."""

import lzma
from itertools import chain

import numpy as np
import pytest

from tinygrad_gpt.data.pretraining import (
    consecutive_batch,
    hold_out,
    load_text,
    random_batch,
    steps_per_epoch,
)
from tinygrad_gpt.errors import DataError

TOKENS = np.arange(100, 200, dtype=np.uint16)


def test_targets_are_the_next_tokens():
    ids, targets = random_batch(TOKENS, 50, 8, seed=1, step=0)
    assert ids.shape == targets.shape == (50, 8)
    assert ids.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(targets, ids + 1)
    np.testing.assert_array_equal(np.diff(ids), 1)


def test_a_batch_is_a_function_of_seed_and_step():
    def batch(seed, step):
        return random_batch(TOKENS, 4, 8, seed=seed, step=step)[0].tolist()

    assert batch(1, 5) == batch(1, 5)
    assert batch(1, 5) != batch(1, 6)
    assert batch(1, 5) != batch(5, 1)


def test_every_window_can_be_drawn():
    ids, targets = random_batch(TOKENS[:11], 500, 8, seed=1, step=0)
    assert set(ids[:, 0].tolist()) == {100, 101, 102}
    assert targets.max() == 110


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(DataError, match="text of 8 tokens: a window of 8 needs 9"):
        random_batch(TOKENS[:8], 1, 8, seed=1, step=0)
    assert random_batch(TOKENS[:9], 1, 8, seed=1, step=0)[0].tolist() == [list(range(100, 108))]


def test_texts_are_read_plain_and_compressed(tmp_path):
    (tmp_path / "a.txt").write_text("Es war einmal …\n", encoding="utf-8")
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress("Es war einmal …\n".encode()))
    assert load_text(tmp_path / "a.txt") == load_text(tmp_path / "a.txt.xz") == "Es war einmal …\n"


def test_an_empty_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(DataError, match=r"no text \(.*a.txt\)"):
        load_text(tmp_path / "a.txt")


def epoch_of(number, stride, batch_size=3, seed=1, tokens=TOKENS):
    """The first tokens of the windows of an epoch, batch after batch."""
    steps = steps_per_epoch(len(tokens), batch_size, 8, stride)
    batches = [consecutive_batch(tokens, batch_size, 8, stride=stride, seed=seed, step=number * steps + step)[0]
               for step in range(steps)]
    return np.stack(batches)[:, :, 0].tolist()


@pytest.mark.parametrize("stride", [1, 5, 8, 11])
def test_an_epoch_takes_each_window_at_most_once_and_fills_every_batch(stride):
    windows = [100 + start for start in range(0, 100 - 8, stride)]  # as in the book
    for number in range(4):
        batches = epoch_of(number, stride)
        firsts = list(chain(*batches))
        assert all(len(batch) == 3 for batch in batches)
        assert len(firsts) == len(set(firsts)) == len(windows) // 3 * 3
        assert set(firsts) <= set(windows)
    assert {first for number in range(40) for first in chain(*epoch_of(number, stride))} == set(windows)


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch():
    assert epoch_of(0, 8) == epoch_of(0, 8)
    assert epoch_of(0, 8) != epoch_of(1, 8)
    assert epoch_of(0, 8) != epoch_of(0, 8, seed=2)


def test_consecutive_targets_are_the_next_tokens():
    ids, targets = consecutive_batch(TOKENS, 10, 8, stride=8, seed=0, step=0)
    assert ids.shape == targets.shape == (10, 8)
    np.testing.assert_array_equal(targets, ids + 1)


def test_windows_that_do_not_fill_a_batch_are_refused():
    assert steps_per_epoch(100, 12, 8, 8) == 1
    with pytest.raises(DataError, match=r"100 tokens: 12 windows of 8 \+ 1, one every 8, do not fill a step of 13"):
        steps_per_epoch(100, 13, 8, 8)
    with pytest.raises(DataError, match="text of 5 tokens: 0 windows"):
        steps_per_epoch(5, 1, 8, 8)


def test_the_last_characters_are_held_out():
    assert hold_out("abcdefghij", 0.1) == ("abcdefghi", "j")
    assert hold_out("abcdefghij", 0) == ("abcdefghij", "")
    text = "one" * 9 + "<|endoftext|>two"
    for share in np.linspace(0, 0.99, 50):
        train, held = hold_out(text, share)
        assert train + held == text
        assert train.count("<|endoftext|>") + held.count("<|endoftext|>") == 1  # never cut in pieces
