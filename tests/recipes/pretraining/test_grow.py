import numpy as np
import pytest

from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.pretraining.grow import grown
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig, pretrain
from tinygrad_gpt.runs.saved_model import load_model

IDS = np.random.default_rng(0).integers(0, 20, (2, 6))


@pytest.fixture
def base():
    """A GPT-2 in which every array has values of its own."""
    model = GPT2(GPT2Config(vocab_size=20, n_ctx=6, n_embd=8, n_layer=2, n_head=2))
    generator = np.random.default_rng(1)
    model.load_state_dict({name: generator.normal(0, 0.3, array.shape).astype(np.float32)
                           for name, array in model.arrays().items()})
    return model


@pytest.mark.parametrize(("n_layer", "n_ctx"), [(2, 6), (4, 6), (6, 6), (2, 7), (4, 20)])
def test_it_computes_the_same(base, n_layer, n_ctx):
    model = grown(base, n_layer, n_ctx)
    assert (model.config.n_layer, model.config.n_ctx, len(model.h)) == (n_layer, n_ctx, n_layer)
    with no_grad():
        np.testing.assert_allclose(model(IDS).numpy(), base(IDS).numpy(), atol=1e-6)


def test_what_is_new_learns(base):
    model = grown(base, 4, 12)
    model.loss(np.tile(IDS, 2), np.tile(IDS, 2)).backward()
    for name in ("h.1.attn.c_proj.weight", "h.1.mlp.c_proj.weight", "h.3.attn.c_proj.weight", "h.3.mlp.c_proj.weight"):
        gradient = dict(model.named_parameters())[name].grad.numpy()
        assert np.abs(gradient).max() > 1e-4, name
    assert (np.abs(model.wpe.weight.grad.numpy()).max(axis=1) > 1e-4).all()


def test_new_positions_are_copies_of_the_second_half(base):
    rows = base.wpe.weight.numpy()
    np.testing.assert_array_equal(grown(base, 2, 13).wpe.weight.numpy(), rows[[0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3]])


def test_the_base_is_left_alone(base):
    before = {name: array.copy() for name, array in base.arrays().items()}
    model = grown(base, 4, 12)
    for parameter in model.parameters():
        parameter.data[...] = 0
    for name, array in base.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("n_layer", "n_ctx", "why"), [
    (3, 6, "n_layer is 3, but the base has 2 blocks; choose a multiple of that"),
    (1, 6, "n_layer is 1, but the base has 2 blocks"),
    (2, 5, "n_ctx is 5, but the context of the base is 6; choose that or more"),
])
def test_less_or_no_multiple_is_refused(base, n_layer, n_ctx, why):
    with pytest.raises(UsageError, match=why):
        grown(base, n_layer, n_ctx)


def test_a_run_grows_its_base(tmp_path):
    (tmp_path / "text.txt").write_text("The cat sat on the mat, and the dog sat on the log. " * 40)
    first = PretrainConfig((str(tmp_path / "text.txt"),), tokenizer="characters", n_ctx=8, n_embd=8, n_layer=1,
                           n_head=2, steps=2)
    pretrain(first, tmp_path / "first")
    config = PretrainConfig(first.data, base=str(tmp_path / "first"), n_layer=2, n_ctx=12, lr=1e-9, steps=1)
    pretrain(config, tmp_path / "second")
    small, large = (load_model(tmp_path / name).transformer.eval() for name in ("first", "second"))
    assert (large.config.n_layer, large.config.n_ctx) == (2, 12)
    ids = np.arange(8)[None]
    with no_grad():
        np.testing.assert_allclose(large(ids).numpy(), small(ids).numpy(), atol=1e-5)
