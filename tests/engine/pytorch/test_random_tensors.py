"""Random tensors. tests/test_random.py compares the numbers with PyTorch's."""

import numpy as np
import pytest

import tinygrad_gpt as torch
from tinygrad_gpt.errors import DTypeError, NonFiniteError, ShapeError
from tinygrad_gpt.random import TorchStream

DRAWS = {
    "rand": (lambda **s: torch.rand(2, 3, **s), lambda stream: stream.uniform(2, 3)),
    "randn": (lambda **s: torch.randn((4, 5), **s), lambda stream: stream.normal(4, 5)),
    "randint": (lambda **s: torch.randint(2, 9, (4,), **s), lambda stream: stream.integers(2, 9, 4)),
    "randint from 0": (lambda **s: torch.randint(9, (4,), **s), lambda stream: stream.integers(0, 9, 4)),
    "randperm": (lambda **s: torch.randperm(9, **s), lambda stream: stream.permutation(9)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_of_the_default_generator_and_of_another(name, backend):
    draw, expected = DRAWS[name]
    torch.manual_seed(3)
    assert np.array_equal(draw().numpy(), expected(TorchStream(3)))
    assert isinstance(draw().data, backend.array_type)
    generator = torch.Generator().manual_seed(4)
    assert np.array_equal(draw(generator=generator).numpy(), expected(TorchStream(4)))


def test_dtypes_and_gradients():
    torch.manual_seed(1)
    assert torch.rand(3, dtype=torch.float64).tolist() == TorchStream(1).doubles(3).tolist()
    assert torch.randn_like(torch.zeros(2, 3, dtype=torch.float64)).dtype == np.float64
    assert torch.rand_like(torch.zeros(2, 3), requires_grad=True).requires_grad
    assert torch.randint(0, 5, (2,), dtype=torch.int32).dtype == np.int32


def test_what_cannot_be_drawn():
    with pytest.raises(ShapeError, match="randint: there is no integer from 5 up to 5"):
        torch.randint(5, 5, (2,))
    with pytest.raises(DTypeError, match="randn: numbers are drawn as float32 or float64, not float16"):
        torch.randn(2, dtype=torch.float16)


ROWS = np.random.RandomState(0).rand(3, 50).astype(np.float32)


@pytest.mark.parametrize("settings", [
    {"num_samples": 1}, {"num_samples": 7}, {"num_samples": 50}, {"num_samples": 1, "replacement": True},
    {"num_samples": 9, "replacement": True}])
@pytest.mark.parametrize("probabilities", [ROWS, ROWS[0], ROWS[0] * (ROWS[0] > 0.5) + (ROWS[0] > 2), ROWS * 1e-3])
def test_multinomial_draws_what_pytorch_draws(probabilities, settings):
    theirs = pytest.importorskip("torch", reason="compares with torch")
    if settings["num_samples"] == 50 and (probabilities == 0).any():
        settings = {"num_samples": int((probabilities > 0).sum())}
    torch.manual_seed(5)
    theirs.manual_seed(5)
    for _ in range(3):
        drawn = torch.multinomial(torch.tensor(probabilities), **settings)
        assert drawn.dtype == torch.int64
        assert drawn.tolist() == theirs.multinomial(theirs.tensor(probabilities), **settings).tolist()
    assert torch.rand(2).tolist() == theirs.rand(2).tolist()


@pytest.mark.parametrize(("probabilities", "settings", "error", "message"), [
    ([0.5, 0.0], {"num_samples": 2}, ShapeError, "cannot draw 2 different indices of rows of 2 probabilities"),
    ([0.5, 0.5], {"num_samples": 0}, ShapeError, "cannot draw 0 different indices"),
    ([[[1.0]]], {"num_samples": 1}, ShapeError, "the probabilities have 3 axes, expected 1 or 2"),
    ([0.5, -0.5], {"num_samples": 1}, NonFiniteError, "negative, not finite, or all 0"),
    ([0.5, np.nan], {"num_samples": 1}, NonFiniteError, "negative, not finite, or all 0"),
    ([[0.5, 0.5], [0.0, 0.0]], {"num_samples": 1}, NonFiniteError, "negative, not finite, or all 0")])
def test_probabilities_that_cannot_be(probabilities, settings, error, message):
    with pytest.raises(error, match=message):
        torch.multinomial(torch.tensor(probabilities), **settings)
