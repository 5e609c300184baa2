"""Gradients of leaves arrive as soon as they are whole, and are those of backward."""

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.engine.leaves import backward_by_leaf
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config


def arrivals(model, loss):
    """Names of the parameters in the order in which their gradients came, with these."""
    names = {parameter.node: name for name, parameter in model.named_parameters()}
    found = []
    backward_by_leaf(loss, lambda leaf, g: found.append((names[leaf], np.array(g))))
    return found


@pytest.mark.parametrize("recompute", [False, True])
def test_every_gradient_is_that_of_backward_and_comes_once(recompute):
    model = GPT2(GPT2Config(30, n_ctx=8, n_embd=8, n_layer=3, n_head=2)).train()
    model.recompute = recompute
    ids = np.random.default_rng(0).integers(0, 30, (2, 9))
    found = arrivals(model, model.loss(ids[:, :-1], ids[:, 1:]))
    assert all(parameter.grad is None for parameter in model.parameters())
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    expected = dict(model.named_parameters())
    assert sorted(name for name, _ in found) == sorted(expected)
    for name, g in found:
        assert np.array_equal(g, expected[name].grad.numpy()), name
    order = [name for name, _ in found]
    blocks = [int(name.split(".")[1]) for name in order if name.startswith("h.")]
    assert blocks == sorted(blocks, reverse=True)
    assert order[0].startswith("ln_f")
    assert set(order[-2:]) == {"wte.weight", "wpe.weight"}  # the head, too, has a part in the first


def test_a_gradient_arrives_before_older_nodes_are_played():
    a, b = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    events = []
    early = a * 2.0
    early.register_hook(lambda g: events.append("an older node"))
    backward_by_leaf((early * b).sum(), lambda leaf, g: events.append("b" if leaf is b.node else "a"))
    assert events == ["b", "an older node", "a"]


def test_hooks_see_the_gradient_and_may_replace_it():
    a = Tensor(np.ones(2), requires_grad=True)
    a.register_hook(lambda g: g * 10.0)
    found = []
    backward_by_leaf((a * 3.0).sum(), lambda leaf, g: found.append(g.tolist()))
    assert found == [[30.0, 30.0]]


def test_a_loss_that_is_itself_a_leaf():
    a = Tensor(np.array(2.0), requires_grad=True)
    found = []
    backward_by_leaf(a, lambda leaf, g: found.append(float(g)))
    assert found == [1.0]


def test_a_loss_on_no_tape_is_refused():
    with pytest.raises(TapeError, match=r"^backward_by_leaf: this tensor is on no tape"):
        backward_by_leaf(ops.exp(Tensor(1.0)), lambda leaf, g: None)
