import numpy as np
import pytest

from tinygrad_gpt.data.masking import mask_tokens

MASK, VOCABULARY = 1, 50


def masked(ids, maskable=None, seed=0):
    ids = np.asarray(ids)
    maskable = np.ones(ids.shape, bool) if maskable is None else maskable
    return mask_tokens(ids, maskable, MASK, VOCABULARY, np.random.default_rng(seed))


@pytest.mark.parametrize(("length", "n_chosen"), [(1, 1), (3, 1), (10, 2), (20, 3), (100, 15)])
def test_15_percent_of_each_text_and_at_least_one_token(length, n_chosen):
    _, targets = masked(np.full((4, length), 9))
    assert ((targets == 9).sum(axis=1) == n_chosen).all()
    assert ((targets == 9) | (targets == -100)).all()


def test_only_tokens_that_may_be_hidden():
    ids = np.arange(2, 26).reshape(3, 8)
    maskable = np.arange(8) < np.array([8, 4, 0])[:, None]
    hidden, targets = masked(ids, maskable)
    assert np.array_equal(hidden[~maskable], ids[~maskable])
    assert (targets[~maskable] == -100).all()
    assert ((targets != -100).sum(axis=1) == [1, 1, 0]).all()
    assert np.array_equal(targets[targets != -100], ids[targets != -100])


def test_eight_in_ten_are_masked_and_one_is_another_token():
    ids = np.full((1000, 100), 7)
    hidden, targets = masked(ids)
    chosen = targets != -100
    assert np.array_equal(hidden[~chosen], ids[~chosen])
    n = chosen.sum()
    assert n == 15_000
    assert (hidden[chosen] == MASK).sum() / n == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.01)
    assert (hidden[chosen] == 7).sum() / n == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.01)
    assert set(np.unique(hidden)) == set(range(VOCABULARY))


def test_every_place_is_chosen_alike():
    _, targets = masked(np.full((20_000, 10), 7))
    np.testing.assert_allclose((targets != -100).mean(axis=0), 0.2, atol=0.02)


def test_a_function_of_the_generator():
    ids = np.arange(600).reshape(6, 100) % VOCABULARY
    first, again, other = (masked(ids, seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
