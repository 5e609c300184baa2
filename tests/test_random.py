"""The stream beside PyTorch itself, and beside numbers that PyTorch is known to print."""

import numpy as np
import pytest
from printed import assert_prints

from tinygrad_gpt.random import TorchStream, default_generator, manual_seed

SEEDS = [0, 1, 123, 789, 2**32 - 1, 2**40 + 3]
BOOK_MASK = [[2, 2, 0, 2, 2, 0], [0, 0, 0, 2, 0, 2], [2, 2, 2, 2, 0, 2],
             [0, 2, 2, 0, 0, 2], [0, 2, 0, 2, 0, 2], [0, 2, 2, 2, 2, 0]]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch, the oracle, is not installed")


@pytest.fixture(params=SEEDS)
def streams(torch, request):
    """PyTorch and our stream, both with the same seed."""
    torch.manual_seed(request.param)
    return torch, TorchStream(request.param)


# -- printed values, without PyTorch

def test_uniforms_that_pytorch_prints():
    assert_prints(TorchStream(0).uniform(2, 3), "[[0.4963, 0.7682, 0.0885], [0.1320, 0.3074, 0.6341]]")
    assert_prints(TorchStream(123).uniform(2), "[0.2961, 0.5166]")


def test_fewer_than_16_normals_that_pytorch_prints():
    assert_prints(TorchStream(123).normal(2, 5), """
        [[-0.1115,  0.1204, -0.3696, -0.2404, -1.1969],
         [ 0.2093, -0.9724, -0.7550,  0.3239, -0.1085]]""")


def test_dropout_mask_that_the_book_prints():
    assert (2 * TorchStream(123).keep(0.5, 6, 6)).tolist() == BOOK_MASK


# -- each rule beside PyTorch

def test_uniform(streams):
    torch, stream = streams
    for shape in ((1,), (7, 3), (1000,)):
        assert np.array_equal(torch.rand(shape).numpy(), stream.uniform(*shape))
    expected = torch.empty(50).uniform_(-0.3, 2.7).numpy()
    assert np.array_equal(expected, stream.uniform(50, low=-0.3, high=2.7))


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 32, 33, 1000, 2**20 + 5, 2**21])
def test_normal(torch, n):
    torch.manual_seed(n)
    stream = TorchStream(n)
    for _ in range(3):  # an odd number of scalar normals leaves one for the next call
        np.testing.assert_allclose(stream.normal(n), torch.randn(n).numpy(), rtol=0, atol=1.5e-6)
    assert np.array_equal(torch.rand(3).numpy(), stream.uniform(3))  # as many words were used


@pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 40, 1000])
def test_float64(streams, n):
    torch, stream = streams
    for _ in range(3):
        np.testing.assert_allclose(stream.normal(n, dtype=np.float64), torch.randn(n, dtype=torch.float64).numpy(),
                                   rtol=1e-13, atol=1e-14)
        assert np.array_equal(stream.doubles(n), torch.rand(n, dtype=torch.float64).numpy())


def test_embedding(streams):
    torch, stream = streams
    for shape in ((6, 3), (2, 4), (50, 32)):
        expected = torch.nn.Embedding(*shape).weight.detach().numpy()
        np.testing.assert_allclose(stream.normal(*shape), expected, rtol=0, atol=1.5e-6)


@pytest.mark.parametrize(("n_in", "n_out", "bias"), [(3, 2, True), (3, 2, False), (5, 6, True), (768, 10, True),
                                                     (50, 30, True), (7, 1, False), (3072, 4, True)])
def test_linear(streams, n_in, n_out, bias):
    torch, stream = streams
    layer = torch.nn.Linear(n_in, n_out, bias=bias)
    weight, offset = stream.linear(n_in, n_out, bias)
    assert np.array_equal(layer.weight.detach().numpy(), weight)
    assert (offset is None) == (not bias)
    if bias:
        assert np.array_equal(layer.bias.detach().numpy(), offset)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 100, 5000])
def test_permutation(streams, n):
    torch, stream = streams
    assert np.array_equal(torch.randperm(n).numpy(), stream.permutation(n))
    assert np.array_equal(torch.rand(3).numpy(), stream.uniform(3))


def test_integers(streams):
    torch, stream = streams
    for low, high in ((-3, 50), (0, 2**28 - 1), (0, 2**28), (-5, 2**40), (0, 2**62)):
        assert np.array_equal(torch.randint(low, high, (4, 5)).numpy(), stream.integers(low, high, 4, 5))


def test_keep(streams):
    torch, stream = streams
    state = torch.get_rng_state()
    torch.manual_seed(123)
    if torch.nn.functional.dropout(torch.ones(6, 6), 0.5).tolist() != BOOK_MASK:
        pytest.skip("this PyTorch draws its dropout masks from MKL")
    torch.set_rng_state(state)
    for p, shape in ((0.1, (3, 40)), (0.5, (1,)), (0.9, (500,))):
        expected = torch.nn.functional.dropout(torch.ones(shape), p).numpy() > 0
        assert np.array_equal(expected, stream.keep(p, *shape))


@pytest.mark.parametrize("n", [2, 9, 1000])
def test_choice(streams, n):
    torch, stream = streams
    probabilities = torch.softmax(torch.linspace(-2, 2, n), 0)
    expected = [torch.multinomial(probabilities, 1).item() for _ in range(20)]
    assert expected == [stream.choice(probabilities.numpy()) for _ in range(20)]


def test_loader_order_over_several_passes_with_draws_between_them(streams):
    torch, stream = streams
    loaders = {shuffle: torch.utils.data.DataLoader(range(9), batch_size=2, shuffle=shuffle)
               for shuffle in (True, False)}
    for shuffle in (True, False, True, True):
        order = [i for batch in loaders[shuffle] for i in batch.tolist()]
        assert order == stream.loader_order(9, shuffle).tolist()
        assert np.array_equal(torch.rand(2).numpy(), stream.uniform(2))


def test_a_restored_stream_draws_the_same_numbers():
    stream = TorchStream(5)
    stream.normal(3)  # its twin waits
    state = stream.state()
    first = stream.normal(2), stream.keep(0.5, 700), stream.words(9)
    stream.restore(state)
    for again, value in zip((stream.normal(2), stream.keep(0.5, 700), stream.words(9)), first, strict=True):
        assert again.tobytes() == value.tobytes()


# -- the default generator


def test_the_default_generator_begins_anew_with_a_seed():
    assert manual_seed(123) is default_generator
    default_generator.normal(3)  # leaves one for the next call, which the seed forgets
    manual_seed(123)
    assert_prints(default_generator.uniform(2), "[0.2961, 0.5166]")
    assert np.array_equal(manual_seed(5).normal(3), TorchStream(5).normal(3))


def test_a_stream_without_a_seed_is_a_new_one_each_time():
    draws = [TorchStream(None).uniform(8) for _ in range(2)]
    assert not np.array_equal(*draws)
    stream = TorchStream(None)
    state = stream.state()
    assert np.array_equal(stream.uniform(8), (stream.restore(state), stream.uniform(8))[1])
