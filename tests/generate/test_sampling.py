"""Each step of sampling by its definition, and the draws by their statistics."""

import dataclasses
import math

import numpy as np
import pytest

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.generate import sampling
from tinygrad_gpt.generate.sampling import Sampling

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625]))


def kept(logits):
    return np.flatnonzero(logits > -math.inf).tolist()


@pytest.fixture(params=range(8))
def row(request):
    return np.random.default_rng(request.param).normal(0, 2, 101)


# -- the steps


def test_the_penalty_divides_positive_and_multiplies_negative_logits():
    logits = np.array([2.0, -2.0, 3.0, 0.0])
    assert sampling.repetition_penalty(logits, {0, 1}, 2.0).tolist() == [1.0, -4.0, 3.0, 0.0]
    assert sampling.repetition_penalty(logits, set(), 2.0).tolist() == logits.tolist()
    assert logits.tolist() == [2.0, -2.0, 3.0, 0.0]


def test_temperature_raises_probabilities_to_a_power(row):
    for temperature in (0.5, 1.0, 3.0):
        expected = sampling.softmax(row) ** (1 / temperature)
        np.testing.assert_allclose(sampling.softmax(sampling.scale(row, temperature)), expected / expected.sum())


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-3])
def test_the_lowest_temperatures_take_the_likeliest(row, temperature):
    probabilities = sampling.softmax(sampling.scale(row, temperature))
    assert probabilities[row.argmax()] == pytest.approx(1)
    assert Sampling(temperature=temperature).choose(row, (), 0, 0) == row.argmax()


def test_top_k_keeps_the_largest(row):
    for k in (1, 7, 100, 101, 1000):
        assert kept(sampling.top_k(row, k)) == sorted(np.argsort(-row)[:k].tolist())


def test_top_k_keeps_what_ties_with_the_last():
    assert kept(sampling.top_k(np.array([1.0, 3.0, 2.0, 2.0, 0.0]), 2)) == [1, 2, 3]


def test_top_p_keeps_the_smallest_set_that_reaches_p(row):
    probabilities = sampling.softmax(row)
    for p in (1e-9, 0.1, 0.5, 0.9, 0.999):
        inside = kept(sampling.top_p(row, p))
        smallest = min(probabilities[inside])
        assert probabilities[inside].sum() >= p > probabilities[inside].sum() - smallest
        assert smallest >= max(np.delete(probabilities, inside), default=0)


@pytest.mark.parametrize(("p", "expected"), [(0.4, [0]), (0.51, [0, 1]), (0.75, [0, 1]), (0.76, [0, 1, 2]),
                                             (0.9, [0, 1, 2, 3, 4])])  # the last two tie
def test_top_p_by_hand(p, expected):
    assert kept(sampling.top_p(LOGITS, p)) == expected


def test_top_p_one_keeps_all():
    logits = np.array([0.0, -40.0, -700.0])  # next to the first, the others vanish in float64
    for seed in range(20):
        assert Sampling(top_p=1, seed=seed).choose(logits, (), 0, 0) == Sampling(seed=seed).choose(logits, (), 0, 0)
    assert kept(sampling.top_p(logits, 1 - 1e-16)) == [0]


def test_min_p_is_relative_to_the_likeliest(row):
    probabilities = sampling.softmax(row)
    for p in (0.0, 0.05, 0.3, 1.0):
        assert kept(sampling.min_p(row, p)) == np.flatnonzero(probabilities >= p * probabilities.max()).tolist()
    assert kept(sampling.min_p(LOGITS, 0.24)) == [0, 1, 2]


def test_what_is_kept_keeps_its_logit_and_the_argument_is_not_changed(row):
    before = row.copy()
    for filtered in (sampling.top_k(row, 9), sampling.top_p(row, 0.7), sampling.min_p(row, 0.2)):
        assert 0 < len(kept(filtered)) < len(row)
        assert np.array_equal(filtered[kept(filtered)], row[kept(filtered)])
    assert np.array_equal(row, before)


def test_filters_agree_after_another_has_left_tokens_out():
    assert kept(sampling.min_p(sampling.top_p(sampling.top_k(LOGITS, 3), 0.8), 0.9)) == [0]
    assert kept(sampling.top_p(sampling.top_k(LOGITS, 2), 0.7)) == [0, 1]  # two thirds and one third
    assert kept(sampling.top_p(sampling.top_k(LOGITS, 2), 0.6)) == [0]


# -- the order: repetition penalty, temperature, top-k, top-p, min-p


def test_the_order_is_as_stated(row):
    settings = Sampling(temperature=0.7, top_k=30, top_p=0.9, min_p=0.05, repetition_penalty=1.5, seed=3)
    seen = set(np.argsort(-row)[:5].tolist())
    for step in range(50):
        logits = sampling.scale(sampling.repetition_penalty(row, seen, 1.5), 0.7)
        logits = sampling.min_p(sampling.top_p(sampling.top_k(logits, 30), 0.9), 0.05)
        assert settings.choose(row, seen, 2, step) == sampling.draw(logits, sampling.uniform(3, 2, step))


def test_the_penalty_comes_before_greedy():
    logits = np.array([3.0, 2.0, 1.0], np.float32)
    assert Sampling(temperature=0).choose(logits, {0}, 0, 0) == 0
    assert Sampling(temperature=0, repetition_penalty=2).choose(logits, {0}, 0, 0) == 1
    assert Sampling(temperature=0).choose(np.zeros(4, np.float32), (), 0, 0) == 0


def test_nothing_set_is_the_softmax_itself():
    counts = np.bincount([Sampling().choose(LOGITS, (), 0, step) for step in range(20_000)], minlength=5)
    expected = 20_000 * np.exp(LOGITS)
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi squared, 4 degrees of freedom, 1 in 1,000


# -- draws


def test_uniform_numbers_are_uniform_and_a_function_of_their_arguments():
    numbers = np.array([sampling.uniform(seed, sample, step) for seed in range(10) for sample in range(20)
                        for step in range(100)])
    assert 0 <= numbers.min() < numbers.max() < 1
    assert len(set(numbers)) == len(numbers)
    ranks = np.sort(numbers)
    assert abs(ranks - np.linspace(0, 1, len(ranks))).max() < 1.95 / math.sqrt(len(ranks))  # Kolmogorov, 1 in 1,000
    assert sampling.uniform(1, 2, 3) == sampling.uniform(1, 2, 3)
    assert sampling.uniform(2**70, 2, 3) != sampling.uniform(2**70, 3, 2)
    assert sampling.uniform(0, 0, 0) == 0.633398068541001  # the same in every version


@pytest.mark.parametrize(("u", "expected"), [(0, 0), (0.499, 0), (0.501, 1), (0.749, 1), (0.751, 2), (0.93, 3),
                                             (1 - 2**-53, 4)])
def test_draw_inverts_the_distribution_function(u, expected):
    assert sampling.draw(LOGITS, u) == expected


def test_a_token_left_out_is_never_drawn():
    logits = np.array([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    assert {sampling.draw(logits, u) for u in (0, 1e-300, 0.4999999, 0.5, 1 - 2**-53)} == {1, 3}


def test_float32_logits_of_any_size():
    logits = np.array([3e38, -3e38, 3e38], np.float32)
    settings = Sampling(temperature=0.5, top_k=2, top_p=0.9, min_p=0.1, repetition_penalty=2)
    assert {settings.choose(logits, {1}, 0, step) for step in range(50)} == {0, 2}


# -- settings


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("temperature", -0.1, "0 or above, and finite"), ("temperature", math.nan, "0 or above, and finite"),
    ("temperature", math.inf, "0 or above, and finite"), ("top_k", 0, "1 or above"), ("top_k", -5, "1 or above"),
    ("top_p", 0.0, "above 0 and at most 1"), ("top_p", 1.01, "above 0 and at most 1"),
    ("top_p", math.nan, "above 0 and at most 1"), ("min_p", -0.1, "from 0 to 1"), ("min_p", 1.5, "from 0 to 1"),
    ("min_p", math.nan, "from 0 to 1"), ("repetition_penalty", 0.0, "above 0, and finite"),
    ("repetition_penalty", -1.0, "above 0, and finite"), ("repetition_penalty", math.inf, "above 0, and finite"),
    ("repetition_penalty", math.nan, "above 0, and finite"), ("seed", -1, "0 or above")])
def test_bad_values_are_refused_in_one_line(name, value, expected):
    with pytest.raises(UsageError) as error:
        Sampling(**{name: value})
    assert str(error.value) == f"{name} is {value}, expected {expected}"


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sampling().seed = 5
