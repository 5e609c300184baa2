"""Updates of low rank: they begin as nothing, learn alone, and melt into the weights."""

import numpy as np
import pytest

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.backend import default_backend, use_backend
from tinygrad_gpt.engine import composed_ops
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.models.lora import BLOCK_LAYERS, LoRALinear, apply_lora, merge_lora
from tinygrad_gpt.nn import Conv1D, init
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.study import view_tape
from tinygrad_gpt.train import train_step

ALL = (*BLOCK_LAYERS, "score")
IDS, LENGTHS = np.random.default_rng(1).integers(0, 23, (4, 12)), np.array([3, 5, 8, 12])
LABELS = np.array([0, 1, 2, 1])


def classifier(seed=0):
    model = GPT2Classifier(GPT2(GPT2Config(vocab_size=23, n_ctx=12, n_embd=16, n_layer=2, n_head=2), seed), 3, seed)
    for parameter in model.parameters():
        parameter.data = parameter.data * 3  # untrained scores are all but equal
    return model


def loss_of(model):
    ids, lengths, labels = map(default_backend().from_numpy, (IDS, LENGTHS, LABELS))
    return ops.cross_entropy(model(ids, lengths), labels)


def trained(targets=ALL, steps=3):
    """A classifier, its LoRA trained for a few steps."""
    model = classifier()
    apply_lora(model, 4, 8, targets)
    optimizer = AdamW(model.trainable(), lr=0.05)
    for _ in range(steps):
        train_step([lambda: loss_of(model)], optimizer, 1.0, "here")
    return model


def scores(model):
    with no_grad():
        return model(*map(default_backend().from_numpy, (IDS, LENGTHS))).numpy()


@pytest.mark.parametrize("targets", [ALL, ("q", "v"), ("k",), ("score",), ("mlp.c_fc",)])
def test_nothing_changes_at_first_and_merged_is_unmerged(targets):
    before = scores(classifier())
    fresh = classifier()
    apply_lora(fresh, 4, 8, targets)
    assert np.array_equal(scores(fresh), before)
    model = trained(targets)
    after = scores(model)
    assert abs(after - before).max() > 0.01
    merge_lora(model)
    assert not any(isinstance(module, LoRALinear) for _, module in model.named_modules())
    assert model.arrays().keys() == classifier().arrays().keys()
    np.testing.assert_allclose(scores(model), after, rtol=0, atol=1e-6 * abs(after).max())


def test_only_the_updates_learn():
    model = trained()
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {name for name, _ in model.named_parameters() if ".lora." in name}
    assert all(parameter.grad is not None for parameter in model.trainable())
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)
    start = classifier().arrays()
    assert all(np.array_equal(array, start[name]) for name, array in model.arrays().items() if name in start)


def test_every_gradient_is_the_slope_of_the_loss():
    model = trained()
    for parameter in model.parameters():
        parameter.data = parameter.numpy().astype(np.float64)
    model.zero_grad()
    loss_of(model).backward()
    r = np.random.default_rng(8)
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        direction, values, ends = r.standard_normal(p.shape), p.numpy().copy(), []
        for step in (1e-6, -1e-6):
            p.data = values + step * direction
            with no_grad():
                ends.append(loss_of(model).item())
        p.data = values
        assert (p.grad.numpy() * direction).sum() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-8), name


def test_frozen_layers_save_no_activation():
    def kept(targets):
        model = classifier()
        if targets is None:
            model.transformer.wte.freeze()
            model.transformer.wpe.freeze()
        else:
            apply_lora(model, 1, 1, targets)
        view = view_tape(loss_of(model), model.named_parameters())
        return view.bytes, [(saved.name, saved.shape) for node in view.nodes if node.op == "linear"
                            for saved in node.saved if saved.counted]

    everything, _ = kept(None)
    mlp, _ = kept(("mlp.c_proj",))
    head, arrays = kept(("score",))
    # A head alone: what goes into it, (4, 16), and what goes into B, (4, 1).
    assert arrays == [("x", (4, 16)), ("x", (4, 1))]
    assert head < mlp < 0.8 * everything
    # The output projection of the MLP saves its input, (4, 12, 64) and then, in the last block, (4, 1, 64); the frozen
    # c_fc before it, c_attn and c_proj save none.
    assert {shape for _, shape in kept(("mlp.c_proj",))[1]} == {(4, 12, 64), (4, 12, 1), (4, 1, 64), (4, 1, 1)}


def test_the_book_trains_2_666_528_parameters(monkeypatch):
    monkeypatch.setattr(init, "normal", lambda generator, *shape, std=0.02: np.broadcast_to(np.float32(0), shape))
    model = GPT2Classifier(GPT2(GPT2Config()), 2)
    apply_lora(model, 16, 16, ALL)
    assert sum(parameter.size for parameter in model.trainable()) == 2_666_528


def test_alpha_is_divided_by_the_rank():
    model = classifier()
    apply_lora(model, 4, 8, ("score",))
    update = model.score.lora[0]
    update.b.data = np.ones((4, 3), np.float32)
    x = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    plain = Conv1D.forward(model.score, x).numpy()
    np.testing.assert_allclose(model.score(x).numpy() - plain, 8 / 4 * (x @ update.a.numpy() @ np.ones((4, 3))),
                               rtol=1e-5, atol=1e-5)


def test_composed_ops_give_the_same():
    model = trained()
    with composed_ops():
        expected = scores(model)
    np.testing.assert_allclose(scores(model), expected, rtol=1e-5, atol=1e-5)


def test_every_backend_learns_alike(backend):
    model = trained()
    assert all(isinstance(parameter.data, backend.array_type) for parameter in model.parameters())
    learned = scores(model)
    merge_lora(model)
    assert all(isinstance(parameter.data, backend.array_type) for parameter in model.parameters())
    np.testing.assert_allclose(scores(model), learned, rtol=1e-5, atol=1e-5)
    use_backend("numpy")
    np.testing.assert_allclose(scores(trained()), learned, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rank", "targets", "message"), [(0, ALL, "rank is 0"), (4, ("mlp",), "is called 'mlp'")])
def test_what_cannot_be_is_refused_and_leaves_the_model(rank, targets, message):
    model = classifier()
    with pytest.raises(UsageError, match=message):
        apply_lora(model, rank, 1, targets)
    assert len(model.trainable()) == len(list(model.parameters()))
