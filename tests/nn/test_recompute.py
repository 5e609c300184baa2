import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.nn import Dropout
from tinygrad_gpt.nn.recompute import dropout_state, recomputed
from tinygrad_gpt.study.tape_view import view_tape

CONFIG = GPT2Config(vocab_size=31, n_ctx=8, n_embd=16, n_layer=3, n_head=2, dropout=0.2)
IDS, TARGETS = np.random.default_rng(0).integers(0, 31, (2, 4, 8))


def figures(recompute, frozen=0, steps=2):
    """Losses and gradients of some steps, each of two micro-batches whose forwards come before their backwards."""
    model = GPT2(CONFIG)
    model.recompute = recompute
    for block in model.h[:frozen]:
        block.freeze()
    ids, targets = map(default_backend().from_numpy, (IDS, TARGETS))
    result = []
    for step in range(steps):
        seed_dropout(model.train(), 5, step)
        losses = [ops.cross_entropy(model(ids[rows]), targets[rows]) for rows in (slice(2), slice(2, 4))]
        if step:
            model.eval()  # what is switched between the two runs does not count
            model(ids)
            model.train()
        for loss in reversed(losses):
            loss.backward()
        result += [loss.numpy().tobytes() for loss in losses]
        result += [(name, None if p.grad is None else p.grad.numpy().tobytes()) for name, p in model.named_parameters()]
        result += [layer.calls for _, layer in model.named_modules() if isinstance(layer, Dropout)]
        model.zero_grad()
    return result


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_a_model_with_dropout_learns_bitwise_the_same(backend, frozen):
    assert figures(True, frozen) == figures(False, frozen)


def test_what_is_kept_is_one_array_for_each_block():
    def kept(recompute):
        model = GPT2(CONFIG)
        model.recompute = recompute
        loss = ops.cross_entropy(model(IDS), TARGETS)
        return view_tape(loss, model.named_parameters())

    with_it, without = kept(True), kept(False)
    blocks = [node for node in with_it.nodes if node.op == "recompute"]
    assert [node.bytes for node in blocks] == [IDS.size * CONFIG.n_embd * 4] * CONFIG.n_layer
    assert with_it.bytes < without.bytes / 5


def test_dropout_goes_on_where_it_was_after_the_second_run():
    layer = Dropout(0.5)
    layer.stream = (0,)
    x = Tensor(np.ones(64, np.float32), requires_grad=True)
    plain = [layer(x).tolist() for _ in range(3)]
    layer.calls = 0
    first, second = recomputed(layer, x), recomputed(layer, x)
    first.sum().backward()
    assert x.grad.tolist() == plain[0]
    x.zero_grad()
    second.sum().backward()
    assert [first.tolist(), second.tolist(), layer(x).tolist()] == plain
    assert x.grad.tolist() == plain[1]


def test_dropout_state_is_turned_back():
    model = GPT2(CONFIG)
    seed_dropout(model, 1, 2)
    restore = dropout_state(model)
    first = model(IDS).tolist()
    assert model(IDS).tolist() != first
    seed_dropout(model.eval(), 3, 4)
    restore()
    assert model(IDS).tolist() == first
