"""The windows and batches of the book."""

import numpy as np
import pytest

from tinygrad_gpt.book.batches import book_batches, token_windows
from tinygrad_gpt.errors import DataError

TOKENS = np.arange(100, 200)


def test_consecutive_windows():
    ids, targets = token_windows(TOKENS[:9], 4)
    assert ids.tolist() == [[100, 101, 102, 103], [104, 105, 106, 107]]
    assert targets.tolist() == [[101, 102, 103, 104], [105, 106, 107, 108]]
    assert token_windows(TOKENS[:8], 4)[0].tolist() == [[100, 101, 102, 103]]


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(DataError, match="text of 8 tokens: a window of 8 needs 9"):
        token_windows(TOKENS[:8], 8)


def test_the_book_s_batches_are_those_of_its_training_loop():
    torch = pytest.importorskip("torch", reason="compares with torch")
    train, validation = (torch.utils.data.DataLoader(range(n), batch_size=8, shuffle=shuffle, drop_last=shuffle)
                         for n, shuffle in ((125, True), (20, False)))
    torch.manual_seed(123)
    step, expected = -1, []
    for _ in range(5):
        for batch in train:
            step += 1
            expected.append(batch.tolist())
            if step % 50 == 0:
                next(iter(train)), next(iter(validation))
        next(iter(train)), next(iter(validation))
    batches = book_batches(125, 8, seed=123, epochs=5)
    assert [len(epoch) for epoch in batches] == [15] * 5
    assert [batch.tolist() for epoch in batches for batch in epoch] == expected
