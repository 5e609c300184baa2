import numpy as np

from tinygrad_gpt import Tensor
from tinygrad_gpt.nn import Identity, Linear


def test_a_forward_hook_sees_and_may_replace_the_output():
    layer, seen = Identity(), []
    handle = layer.register_forward_hook(lambda module, args, y: seen.append((module, args, y)))
    layer.register_forward_hook(lambda module, args, y: y * 2.0)
    x = Tensor([1.0, 2.0])
    assert layer(x).tolist() == [2.0, 4.0]
    assert seen == [(layer, (x,), x)]
    handle.remove()
    handle.remove()
    assert layer(x).tolist() == [2.0, 4.0]
    assert len(seen) == 1


def test_a_pre_hook_may_replace_the_arguments():
    layer = Identity()
    with layer.register_forward_pre_hook(lambda module, args: args[0] + 1.0):
        assert layer(Tensor([1.0])).tolist() == [2.0]
    assert layer(Tensor([1.0])).tolist() == [1.0]


def test_a_hook_that_removes_itself_hides_no_other():
    layer, calls = Identity(), []
    handles = [layer.register_forward_hook(lambda *_: (calls.append("once"), handles[0].remove())[0]),
               layer.register_forward_hook(lambda *_: calls.append("always"))]
    layer(Tensor([1.0]))
    layer(Tensor([1.0]))
    assert calls == ["once", "always", "always"]


def test_a_module_as_hook_is_no_part_of_the_tree():
    layer = Identity()
    layer.register_forward_hook(Linear(1, 1))
    assert list(layer.parameters()) == []


def test_activations_can_be_collected():
    layer, kept = Linear(3, 2), {}
    layer.register_forward_hook(lambda module, args, y: kept.update(y=y.detach()))
    y = layer(Tensor(np.ones((4, 3), np.float32)))
    assert np.array_equal(kept["y"].numpy(), y.numpy())
