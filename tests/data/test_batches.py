"""Each sample once an epoch, in an order that (seed, epoch) decide, padded as little as may be."""

import numpy as np
import pytest

from tinygrad_gpt.data.batches import length_batches, pad, truncate
from tinygrad_gpt.errors import DataError, UsageError

LENGTHS = np.random.default_rng(0).geometric(0.05, size=1003)


def flat(batches):
    return np.concatenate(batches).tolist()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 8, 1003, 5000])
def test_each_sample_once_an_epoch(batch_size, shuffle):
    batches = length_batches(LENGTHS, batch_size, seed=1, epoch=0, shuffle=shuffle)
    assert sorted(flat(batches)) == list(range(1003))
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return flat(length_batches(LENGTHS.tolist(), 8, seed=seed, epoch=epoch))

    np.random.default_rng().random()
    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert order(0, 1) != order(1, 0)


def test_samples_of_like_length_share_a_batch():
    def padded(batches):
        return sum(LENGTHS[batch].max() * len(batch) for batch in batches)

    shuffled = np.array_split(np.random.default_rng(0).permutation(1003), 126)
    assert padded(length_batches(LENGTHS, 8, seed=1, epoch=0)) < 1.25 * LENGTHS.sum() < padded(shuffled)
    assert padded(length_batches(LENGTHS, 8, seed=1, epoch=0, shuffle=False)) < 1.1 * LENGTHS.sum()


def test_batches_come_in_no_order_of_length():
    longest = [LENGTHS[batch].max() for batch in length_batches(LENGTHS, 8, seed=1, epoch=0)]
    rising = np.mean(np.diff(longest) > 0)
    assert 0.3 < rising < 0.7


def test_no_samples_no_batches():
    assert length_batches([], 8, seed=1, epoch=0) == []
    assert length_batches([], 8, seed=1, epoch=0, shuffle=False) == []


def test_a_batch_of_none_is_refused():
    with pytest.raises(UsageError, match="batch_size 0"):
        length_batches([1], 0, seed=1, epoch=0)


def test_padding_reaches_the_longest_of_the_batch():
    ids, lengths = pad([[5], [6, 7, 8], [9, 9]], 50256)
    assert ids.tolist() == [[5, 50256, 50256], [6, 7, 8], [9, 9, 50256]]
    assert lengths.tolist() == [1, 3, 2]
    assert ids.dtype == lengths.dtype == np.int64


def test_padding_may_reach_further():
    assert pad([[5], [6, 7]], 9, width=4)[0].tolist() == [[5, 9, 9, 9], [6, 7, 9, 9]]
    assert pad([[5], [6, 7]], 9, width=1)[0].tolist() == [[5, 9], [6, 7]]


@pytest.mark.parametrize("token_lists", [[], [[1], []]])
def test_texts_without_tokens_are_refused(token_lists):
    with pytest.raises(DataError, match="without tokens"):
        pad(token_lists, 0)


def test_truncation_keeps_the_start_and_is_counted():
    assert truncate([[1, 2, 3], [4], [5, 6]], 2) == ([[1, 2], [4], [5, 6]], 1)
