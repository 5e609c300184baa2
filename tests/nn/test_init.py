import numpy as np

from tinygrad_gpt.nn import init


def test_normal_is_float32_with_the_standard_deviation_asked_for():
    values = init.normal(np.random.default_rng(0), 300, 400)
    assert values.shape == (300, 400)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 4 * 0.02 / np.sqrt(values.size)
    assert abs(values.std() / 0.02 - 1) < 4 / np.sqrt(2 * values.size)


def test_normal_is_a_function_of_the_generator():
    draw = [init.normal(np.random.default_rng(3), 5, std=0.5) for _ in range(2)]
    assert np.array_equal(*draw)
    assert not np.array_equal(draw[0], init.normal(np.random.default_rng(4), 5, std=0.5))


def test_zeros_and_ones_are_float32():
    assert init.zeros(2, 3).dtype == init.ones(2).dtype == np.float32
    assert not init.zeros(2, 3).any()
    assert (init.ones(2) == 1).all()
