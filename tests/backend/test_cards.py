"""What each GPU can do, and the precisions that it refuses."""

import cuda_on_cpu
import fake_cublas
import ml_dtypes
import numpy as np
import pytest
from soak import SOAK

from tinygrad_gpt.backend import get_backend, on_backend
from tinygrad_gpt.backend.cards import CARDS, card_of
from tinygrad_gpt.backend.precision import current_precision, precision
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import LossScale
from tinygrad_gpt.train.step import train_step


def refusal(name, version):
    return (f"precision is '{name}' (GPU of compute capability {version}): it needs 8.0, which is Ampere, or newer; "
            "use float16 or float32")


def test_the_limits_are_those_of_the_programming_guide():
    kib = {70: 96, 75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
    assert {capability: card.shared_memory / 1024 for capability, card in CARDS.items()} == kib
    assert all(("bfloat16" in card.tensor_cores) == ("tf32" in card.tensor_cores) == (capability >= 80)
               for capability, card in CARDS.items())


@pytest.mark.parametrize(("capability", "like"), [(72, 70), (87, 86), (103, 100), (121, 120), (75, 75)])
def test_a_card_that_is_not_in_the_table_is_taken_for_the_one_below(capability, like):
    assert card_of(capability) == CARDS[like]._replace(capability=capability)


def test_a_card_below_the_table_is_none():
    assert card_of(61) is None


@pytest.mark.parametrize(("capability", "version"), [(70, "7.0"), (75, "7.5")])
@pytest.mark.parametrize("name", ["bfloat16", "tf32"])
def test_what_came_with_ampere_is_refused_before(capability, version, name):
    with fake_cublas.card(capability), on_backend("strict"):
        with pytest.raises(UsageError) as refused, precision(name):
            pytest.fail("the block is entered")
        assert str(refused.value) == refusal(name, version)
        assert (refused.value.exit_code, current_precision().name) == (2, "float32")
        with precision("float16"):
            assert current_precision().name == "float16"


@pytest.mark.parametrize("capability", [80, 86, 120])
def test_every_precision_is_there_since_ampere(capability):
    with fake_cublas.card(capability), on_backend("strict"):
        for name in ("float32", "tf32", "bfloat16", "float16"):
            with precision(name):
                assert current_precision().name == name


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", ml_dtypes.bfloat16), ("tf32", np.float32)])
def test_a_product_refuses_them_too(name, dtype):
    """The precision may have been chosen for another backend."""
    strict = get_backend("strict")
    a = strict.from_numpy(np.ones((2, 2), dtype))
    with precision(name), fake_cublas.card(75), pytest.raises(UsageError) as refused:
        strict.bmm(a, a)
    assert str(refused.value) == refusal(name, "7.5")


@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="g++ is not installed")
def test_steps_in_float16_are_the_same_on_every_card():
    """Before Ampere their attention is made of other products."""
    ids = np.arange(20).reshape(2, 10)

    def losses(capability):
        with fake_cublas.card(capability), on_backend("emulated") as backend, precision("float16"):
            model = GPT2(GPT2Config(vocab_size=24, n_ctx=16, n_embd=32, n_layer=1, n_head=2))
            optimizer, scale, batch = AdamW(model.parameters(), lr=1e-2), LossScale(), backend.from_numpy(ids)
            return [train_step([lambda: model.loss(batch, batch)], optimizer, 1.0, "step", model, scale)[0]
                    for _ in range(3)]

    expected = losses(90)
    assert expected[2] < expected[0] - 0.1
    for capability in (70, 75, 86, 120) if SOAK else (75,):
        np.testing.assert_allclose(losses(capability), expected, rtol=1e-3)


def test_numpy_has_every_precision():
    assert get_backend("numpy").card() is None
