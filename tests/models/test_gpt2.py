import gc
from collections import Counter

import numpy as np
import pytest
import strict

from tinygrad_gpt import Tensor, no_grad, ops
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.engine.mode import composed_ops
from tinygrad_gpt.engine.tape import Node
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.nn import init
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import train_step

SMALL = {"vocab_size": 23, "n_ctx": 12, "n_embd": 12, "n_layer": 3, "n_head": 3}


def small(seed=0, **changes):
    return GPT2(GPT2Config(**SMALL | changes), seed=seed)


def in_float64(model):
    """Every parameter in float64 and away from its special initial value."""
    r = np.random.default_rng(5)
    for p in model.parameters():
        p.data = p.numpy() + 0.1 * r.standard_normal(p.shape)
    return model


def batch(n=4, length=12, seed=0):
    ids = np.random.default_rng(seed).integers(0, SMALL["vocab_size"], (n, length + 1))
    return ids[:, :-1], ids[:, 1:]


def loss_of(model, seed=0):
    ids, targets = batch(seed=seed)
    return ops.cross_entropy(model(ids), targets)


def tape(tensor):
    """All nodes that the tensor depends on."""
    nodes, waiting = set(), [tensor.node]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting += node.inputs
    return nodes


def saved(tensor):
    """Arrays that its tape keeps, each once; views count as the memory that they show."""
    arrays = {}
    for node in tape(tensor):
        for a in saved_arrays(node.pullbacks).values():
            owner = a if a.base is None else a.base
            arrays[id(owner)] = owner
    return list(arrays.values())


# -- sizes

BOOK = {"qkv_bias": False}


@pytest.mark.parametrize(("sizes", "separate", "tied"), [
    ((768, 12, 12), 163_009_536, 124_412_160),
    ((1024, 24, 16), 406_212_608, 354_749_440),
    ((1280, 36, 20), 838_220_800, 773_891_840),
    ((1600, 48, 25), 1_637_792_000, 1_557_380_800)], ids=["124M", "355M", "774M", "1558M"])
def test_the_numbers_of_parameters_are_the_published_ones(monkeypatch, sizes, separate, tied):
    monkeypatch.setattr(init, "normal", lambda generator, *shape, std=0: np.broadcast_to(np.float32(0), shape))
    settings = dict(zip(("n_embd", "n_layer", "n_head"), sizes, strict=True)) | BOOK
    assert GPT2(GPT2Config(**settings, tied_head=False)).size == separate
    assert GPT2(GPT2Config(**settings)).size == tied
    n_embd, n_layer, _ = sizes
    assert GPT2(GPT2Config(**settings | {"qkv_bias": True})).size == tied + n_layer * 3 * n_embd


def test_gpt2_small_has_124_439_808_parameters():
    model = GPT2(GPT2Config())
    assert model.size == 124_439_808
    assert model.h[0].attn.size == 2_360_064 + 3 * 768
    assert model.h[0].mlp.size == 4_722_432


@pytest.mark.parametrize(("change", "text"), [
    ({"n_layer": 0}, "n_layer is 0, expected at least 1"), ({"vocab_size": -1}, "vocab_size is -1"),
    ({"n_head": 5}, "n_embd is 12, not a multiple of n_head = 5")])
def test_sizes_that_cannot_be_are_refused(change, text):
    with pytest.raises(UsageError, match=text):
        GPT2Config(**SMALL | change)


def test_a_configuration_is_rebuilt_from_its_fields():
    config = GPT2Config(**SMALL, dropout=0.1, tied_head=False)
    assert GPT2Config(**config.to_dict()) == config


# -- what it computes


def test_the_same_seed_gives_the_same_values():
    a, b, c = small(3).arrays(), small(3).arrays(), small(4).arrays()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not any(np.array_equal(a[name], c[name]) for name in a if a[name].ndim == 2)


def test_a_later_token_changes_no_earlier_logit():
    model = small()
    ids = batch()[0]
    before = model(ids).numpy()
    for position in (1, 6, 11):
        changed = ids.copy()
        changed[:, position] = (changed[:, position] + 1) % SMALL["vocab_size"]
        after = model(changed).numpy()
        assert np.array_equal(after[:, :position], before[:, :position])
        assert (after[:, position:] != before[:, position:]).any(axis=-1).all()


def test_texts_of_a_batch_do_not_meet():
    model = small()
    ids = batch()[0]
    changed = ids.copy()
    changed[2] = 0
    same = [0, 1, 3]
    assert np.array_equal(model(ids).numpy()[same], model(changed).numpy()[same])


def test_right_padding_does_not_change_the_scores():
    classifier = in_float64(GPT2Classifier(small(), 4))
    ids, lengths = batch()[0], np.array([1, 5, 8, 12])
    scores = classifier(ids, lengths).numpy()
    assert scores.shape == (4, 4)
    for row, length in enumerate(lengths):
        alone = classifier(ids[row:row + 1, :length], np.array([length])).numpy()
        np.testing.assert_allclose(alone[0], scores[row], rtol=1e-12, atol=1e-12)
    other = np.where(np.arange(12) < lengths[:, None], ids, 7)
    assert np.array_equal(classifier(other, lengths).numpy(), scores)


def test_a_classifier_reads_the_last_real_token():
    classifier = in_float64(GPT2Classifier(small(), 2))
    ids, lengths = batch()[0], np.array([3, 5, 8, 12])
    for row, length in enumerate(lengths):
        changed = ids.copy()
        changed[row, length - 1] = (changed[row, length - 1] + 1) % SMALL["vocab_size"]
        differs = (classifier(changed, lengths).numpy() != classifier(ids, lengths).numpy()).any(axis=-1)
        assert differs.tolist() == [i == row for i in range(4)]


def test_scores_at_every_token_hold_those_at_the_last():
    classifier = GPT2Classifier(small(), 2)
    ids, lengths = batch()[0], np.array([3, 5, 8, 12])
    h = classifier.transformer.ln_f(classifier.transformer.hidden(ids))
    last = classifier.score(h).numpy()[np.arange(len(lengths)), lengths - 1]
    assert last == pytest.approx(classifier(ids, lengths).numpy(), abs=1e-6)
    assert np.array_equal(classifier.transformer.head(h).numpy(), classifier.transformer(ids).numpy())


@pytest.mark.parametrize("shape", [(1, 13), (12,), (1, 2, 3)])
def test_ids_that_do_not_fit_are_refused(shape):
    with pytest.raises(ShapeError) as error:
        small()(np.zeros(shape, np.int64))
    assert str(error.value) == (f"GPT2: {shape[-1]} tokens (ids are {shape}), but the model's context is 12; "
                                "give ids of shape (B, T), truncated to that")


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(ShapeError, match=r"ids hold 0 … 23, outside 0 … 22"):
        small()(np.array([[0, 23]]))


@pytest.mark.parametrize("settings", [{}, {"tied_head": False, "qkv_bias": False}, {"dropout": 0.2}])
def test_fused_ops_and_composed_ops_are_the_same_model(settings):
    model = in_float64(small(**settings))
    results = []
    for composed in (False, True):
        seed_dropout(model, 1, 2)
        model.zero_grad()
        if composed:
            with composed_ops():
                loss = loss_of(model)
        else:
            loss = loss_of(model)
        n_nodes = len(tape(loss))
        loss.backward()
        results.append((loss.item(), {name: p.grad.numpy() for name, p in model.named_parameters()}, n_nodes))
    (loss, grads, n_fused), (expected_loss, expected, n_composed) = results
    assert n_composed > 3 * n_fused  # it really ran the other form
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    assert grads.keys() == expected.keys()
    for name, g in grads.items():
        np.testing.assert_allclose(g, expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("logits", [1 << 24, 5 * 23])
def test_the_loss_without_logits_is_that_of_the_logits(monkeypatch, tied_head, logits):
    monkeypatch.setitem(ops.linear_cross_entropy.fast.function.__globals__, "LOGITS", logits)  # 48 rows in 1 or 10
    ids, targets = batch()
    losses, gradients = [], []
    for loss in (lambda model: model.loss(ids, targets), loss_of):
        model = in_float64(small(tied_head=tied_head))
        losses.append(loss(model))
        losses[-1].backward()
        gradients.append([p.grad.numpy() for p in model.parameters()])
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-13)
    for ours, expected in zip(*gradients, strict=True):
        assert np.abs(ours - expected).max() < 1e-13


def test_every_gradient_is_the_slope_of_the_loss():
    model = in_float64(small())
    loss_of(model).backward()
    r = np.random.default_rng(8)
    for name, p in model.named_parameters():
        direction, values, ends = r.standard_normal(p.shape), p.numpy().copy(), []
        for step in (1e-6, -1e-6):
            p.data = values + step * direction
            with no_grad():
                ends.append(loss_of(model).item())
        p.data = values
        slope = (p.grad.numpy() * direction).sum()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-8), name


# -- a training step


def train(model, steps, seed=0):
    optimizer = AdamW(model.parameters(), lr=0.01)
    for step in range(steps):
        seed_dropout(model, seed, step)
        train_step([lambda step=step: loss_of(model, seed=step)], optimizer, 1.0, f"step {step}")
    return [*model.arrays().values(), *optimizer.arrays().values()]


def test_twenty_steps_twice_are_the_same_bits():
    runs = [train(small(dropout=0.1), 20) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0], train(small(dropout=0.1), 20, seed=1), strict=True))


def test_masks_differ_between_layers_and_steps():
    model = small(dropout=0.3)
    drops = [module for name, module in model.named_modules() if name.endswith("drop") or name.endswith("dropout")]
    assert len(drops) == 1 + 2 * SMALL["n_layer"]
    like, masks = Tensor(np.ones(1, np.float32)), []
    for step in range(2):
        seed_dropout(model, 9, step)
        masks += [layer.mask(like, (1000,)).tobytes() for layer in drops]
    assert len(set(masks)) == 2 * len(drops)


def test_no_float64_appears_in_a_float32_step():
    model = small(dropout=0.1)
    optimizer = AdamW(model.parameters())
    loss = loss_of(model)
    arrays = {f"{node.op.name}.{name}": a for node in tape(loss) if node.op is not None
              for name, a in saved_arrays(node.pullbacks).items()}
    loss.backward()
    optimizer.step()
    arrays |= {f"grad of {name}": p.grad.data for name, p in model.named_parameters()}
    arrays |= {name: a for name, a in model.arrays().items()}
    arrays |= {name: a for name, a in optimizer.arrays().items() if name != "steps"}
    assert len(arrays) > 100
    assert {name: a.dtype for name, a in arrays.items() if a.dtype == np.float64} == {}
    assert loss.dtype == np.float32


@pytest.mark.kernels
def test_a_step_runs_on_every_backend_without_float64(backend):
    with strict.pure_float32():
        model = small(dropout=0.1)
        assert all(isinstance(p.data, backend.array_type) for p in model.parameters())
        optimizer = AdamW(model.parameters(), lr=0.01)
        ids, targets = (backend.from_numpy(a) for a in batch())
        losses = [train_step([lambda: ops.cross_entropy(model(ids), targets)], optimizer, 1.0, "here")[0]
                  for _ in range(3)]
    assert losses[2] < losses[0]
    assert all(isinstance(p.grad.data, backend.array_type) for p in model.parameters())


def test_the_graph_is_freed_without_the_collector():
    def alive():
        return sum(issubclass(type(thing), (Node, Tensor)) for thing in gc.get_objects())

    model = small()
    gc.collect()
    gc.disable()
    try:
        before = alive()
        loss = loss_of(model)
        assert alive() > before + 30
        loss.backward()
        del loss
        loss_of(model)  # and one that never runs backward
        model.zero_grad()
        assert alive() == before
    finally:
        gc.enable()


# -- frozen parts


def saved_bytes(model, **settings):
    ids, lengths = batch(n=8)[0], np.full(8, 12)
    return sum(a.nbytes for a in saved(model(ids, lengths)))


def test_frozen_blocks_save_no_activation():
    classifier = GPT2Classifier(small(), 2)
    whole = saved_bytes(classifier)
    classifier.freeze()
    classifier.score.freeze(False)
    head = saved_bytes(classifier)
    classifier.transformer.h[-1].freeze(False)
    last_block = saved_bytes(classifier)
    classifier.freeze(False)
    classifier.transformer.wte.freeze()
    classifier.transformer.wpe.freeze()
    blocks = saved_bytes(classifier)
    assert head < last_block < blocks <= whole
    # The head alone keeps its input (8, 12); a block keeps some twenty arrays of (8, 12, 12) floats.
    assert head == 8 * 12 * 4
    activations = (whole - head) / SMALL["n_layer"]
    assert last_block - head < 1.5 * activations


def test_below_the_first_trained_parameter_nothing_is_recorded():
    classifier = GPT2Classifier(small(), 2)
    classifier.freeze()
    classifier.transformer.h[-1].freeze(False)
    classifier.score.freeze(False)
    ids, lengths = batch()[0], np.full(4, 12)
    x = classifier.transformer.drop(classifier.transformer.wte(ids) + classifier.transformer.wpe.weight[:12])
    for block in classifier.transformer.h[:-1]:
        x = block(x)
        assert x.node is None
    recorded = tape(classifier(ids, lengths))
    leaves = {id(node) for node in recorded if node.op is None}
    assert leaves == {id(p.node) for p in classifier.trainable()}
    ops_played = Counter(node.op.name for node in recorded if node.op is not None)
    assert (ops_played["layer_norm"], ops_played["attention"], ops_played["bias_gelu"]) == (4, 1, 1)


def test_frozen_parameters_get_no_gradient_and_the_others_the_same_one():
    classifier = in_float64(GPT2Classifier(small(), 2))
    ids, lengths = batch()[0], np.full(4, 12)
    classifier(ids, lengths).sum().backward()
    expected = {name: p.grad.numpy() for name, p in classifier.named_parameters()}
    classifier.zero_grad()
    classifier.freeze()
    classifier.transformer.h[1].mlp.freeze(False)
    classifier(ids, lengths).sum().backward()
    got = {name: p.grad.numpy() for name, p in classifier.named_parameters() if p.grad is not None}
    assert list(got) == [f"transformer.h.1.mlp.{layer}.{kind}" for layer in ("c_fc", "c_proj")
                         for kind in ("weight", "bias")]
    assert all(np.array_equal(g, expected[name]) for name, g in got.items())
