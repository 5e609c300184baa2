"""Windows with their targets one token later, drawn by (seed, step)."""

import lzma

import numpy as np
import pytest

from tinygrad_gpt.data.pretraining import load_text, random_batch, token_windows
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


def test_consecutive_windows():
    ids, targets = token_windows(TOKENS[:9], 4)
    assert ids.tolist() == [[100, 101, 102, 103], [104, 105, 106, 107]]
    assert targets.tolist() == [[101, 102, 103, 104], [105, 106, 107, 108]]
    assert token_windows(TOKENS[:8], 4)[0].tolist() == [[100, 101, 102, 103]]


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(DataError, match="text of 8 tokens: a window of 8 needs 9"):
        random_batch(TOKENS[:8], 1, 8, seed=1, step=0)
    with pytest.raises(DataError, match="text of 8 tokens"):
        token_windows(TOKENS[:8], 8)
    assert random_batch(TOKENS[:9], 1, 8, seed=1, step=0)[0].tolist() == [list(range(100, 108))]


def test_texts_are_read_plain_and_compressed(tmp_path):
    (tmp_path / "a.txt").write_text("Es war einmal …\n", encoding="utf-8")
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress("Es war einmal …\n".encode()))
    assert load_text(tmp_path / "a.txt") == load_text(tmp_path / "a.txt.xz") == "Es war einmal …\n"


def test_an_empty_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(DataError, match=r"no text \(.*a.txt\)"):
        load_text(tmp_path / "a.txt")
