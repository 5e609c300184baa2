"""Recompute: the same numbers, and of what a function computes only its input is kept."""

import gc
import weakref

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.engine import Tensor, checking, composed_ops, no_grad
from tinygrad_gpt.engine.guards import Lock, saved_arrays
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.recompute import recompute
from tinygrad_gpt.errors import ShapeError, TapeError
from tinygrad_gpt.study.tape_view import view_tape


def leaf(*shape, seed=0, dtype=np.float32):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


class Layer:
    """x + W₂ gelu(W₁ norm(x)), and how often it ran."""

    def __init__(self, width=4, seed=0, dtype=np.float32):
        self.parameters = [leaf(width, seed=seed, dtype=dtype), leaf(width, seed=seed + 1, dtype=dtype),
                           leaf(width, 3 * width, seed=seed + 2, dtype=dtype),
                           leaf(3 * width, width, seed=seed + 3, dtype=dtype)]
        self.runs = 0

    def __call__(self, x):
        self.runs += 1
        gain, bias, w1, w2 = self.parameters
        return x + ops.linear(ops.gelu(ops.linear(ops.layer_norm(x, gain, bias), w1)), w2)


def run(x, layers, wrap):
    y = x
    for layer in layers:
        y = wrap(layer, y)
    loss = (y * y).mean()
    loss.backward()
    leaves = [x, *(p for layer in layers for p in layer.parameters)]
    grads = [p.grad.numpy().copy() for p in leaves]
    for p in leaves:
        p.zero_grad()
    return [loss.numpy(), *grads]


def plain(layer, x):
    return layer(x)


def again(layer, x):
    return recompute(layer, x, *layer.parameters)


def test_loss_and_gradients_are_bitwise_the_same(backend):
    x, layers = leaf(5, 4, seed=9), [Layer(seed=10 * i) for i in range(3)]
    x = Tensor(x, requires_grad=True, backend=backend.name)
    for layer in layers:
        layer.parameters = [Tensor(p, requires_grad=True, backend=backend.name) for p in layer.parameters]
    for a, b in zip(run(x, layers, plain), run(x, layers, again), strict=True):
        assert a.dtype == b.dtype == np.float32
        assert a.tobytes() == b.tobytes()
    assert [layer.runs for layer in layers] == [3, 3, 3]


def test_it_agrees_with_differences_in_float64():
    x, layer = leaf(3, 4, seed=5, dtype=np.float64), Layer(dtype=np.float64)
    r = np.random.default_rng(1)
    cotangent = r.standard_normal((3, 4))
    for p in (x, *layer.parameters):
        again(layer, x).backward(cotangent)
        direction, before, step = r.standard_normal(p.shape), p.numpy().copy(), 1e-6
        values = []
        for t in (step, -step):
            with no_grad():
                p.copy_(before + t * direction)
                values.append((cotangent * again(layer, x).numpy()).sum())
                p.copy_(before)
        numeric = (values[0] - values[1]) / (2 * step)
        assert (p.grad.numpy() * direction).sum() == pytest.approx(numeric, rel=1e-7)
        for q in (x, *layer.parameters):
            q.zero_grad()


def test_only_the_input_is_kept():
    x, layers = leaf(50, 16), [Layer(16, seed=10 * i) for i in range(8)]
    named = [(f"{i}.{j}", p) for i, layer in enumerate(layers) for j, p in enumerate(layer.parameters)] + [("x", x)]

    def kept(wrap):
        y = x
        for layer in layers:
            y = wrap(layer, y)
        return view_tape(y.sum(), named)

    view = kept(again)
    assert [node.op for node in view.nodes if node.op] == ["recompute"] * 8 + ["sum"]
    assert view.bytes == 7 * x.data.nbytes  # the inputs of all but the first, which is the leaf x
    assert kept(plain).bytes > 8 * 8 * x.data.nbytes  # of the norm 2 in each layer, of GELU and W₂ 3 each


def test_a_block_that_was_played_is_freed():
    x, layers = leaf(50, 16), [Layer(16, seed=10 * i) for i in range(2)]
    gc.collect()
    gc.disable()
    try:
        y = again(layers[1], again(layers[0], x)).sum()
        kept = weakref.ref(saved_arrays(y.node.inputs[0].pullbacks)["arrays[0]"])
        y.backward()
        assert kept() is None
    finally:
        gc.enable()


def test_under_no_grad_and_with_nothing_to_train_it_is_the_plain_function():
    x, layer = leaf(3, 4), Layer()
    with no_grad():
        assert not again(layer, x).requires_grad
    for p in layer.parameters:
        p.requires_grad = False
    y = again(layer, x.detach())
    assert not y.requires_grad
    assert layer.runs == 2
    assert y.tolist() == layer(x.detach()).tolist()
    trained = leaf(1)
    frozen = recompute(lambda x: x * trained, x.detach())  # nothing given has a gradient: recorded as usual
    frozen.sum().backward()
    assert trained.grad.item() == pytest.approx(x.numpy().sum(), rel=1e-6)


def test_frozen_parameters_get_no_gradient_and_the_others_theirs():
    x, layer = leaf(3, 4), Layer()
    gain, _, w1, w2 = layer.parameters
    gain.requires_grad = w1.requires_grad = False
    expected, got = [], []
    for wrap, grads in ((plain, expected), (again, got)):
        wrap(layer, x.detach()).sum().backward()
        grads += [w2.grad.tolist(), layer.parameters[1].grad.tolist()]
        assert gain.grad is w1.grad is x.grad is None
        w2.zero_grad(), layer.parameters[1].zero_grad()
    assert got == expected


def test_nested_and_composed_and_under_no_grad_outside():
    x, layers = leaf(3, 4), [Layer(), Layer(seed=7)]

    def both(x):
        return again(layers[1], again(layers[0], x))

    expected = run(x, layers, plain)
    nested = recompute(both, x, *layers[0].parameters, *layers[1].parameters)
    loss = (nested * nested).mean()
    with no_grad():
        loss.backward()
        assert not current_mode().recording
    assert x.grad.numpy().tobytes() == expected[1].tobytes()
    assert layers[1].parameters[3].grad.numpy().tobytes() == expected[-1].tobytes()

    x.zero_grad()
    with composed_ops():
        expected = run(x, [Layer()], plain)
        y = again(Layer(), x)
    (y * y).mean().backward()  # the second run is composed, too, though the block has ended
    assert x.grad.numpy().tobytes() == expected[1].tobytes()


def test_a_value_used_inside_and_outside_gets_both_gradients():
    x, w = leaf(3), leaf(3, seed=1)
    y = x * 2.0
    z = recompute(lambda y: y * w + y, y, w)
    (z * y * w).sum().backward()
    a, b = x.numpy().astype(np.float64), w.numpy().astype(np.float64)  # (2x w + 2x) 2x w = 4x² (w² + w)
    np.testing.assert_allclose(x.grad.numpy(), 8 * a * (b * b + b), rtol=1e-5)
    np.testing.assert_allclose(w.grad.numpy(), 4 * a * a * (2 * b + 1), rtol=1e-5)


def test_a_tensor_given_twice_gets_its_gradient_once():
    x = leaf(3)
    recompute(lambda x: x * x, x, x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy(), rtol=1e-6)


def test_functions_that_return_their_input_or_a_constant():
    x = leaf(3)
    recompute(lambda x: x, x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    x.zero_grad()
    (recompute(lambda x: x.detach() * 2.0, x) + x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


# -- the rules of the tape


def test_gradients_share_memory_with_nothing():
    x, w = leaf(2, 3), leaf(2, 3, seed=1)
    y = recompute(lambda x: x + w, x, w)
    y.retain_grad()
    g = Tensor(np.ones((2, 3), np.float32))
    y.backward(g)
    arrays = [t.grad.data for t in (x, w, y)] + [x.data, w.data, y.data, g.data]
    for i, a in enumerate(arrays):
        for b in arrays[:i]:
            assert not np.shares_memory(a, b)


def test_second_backward_is_refused_and_retain_graph_allows_it():
    x, layer = leaf(3, 4), Layer()
    y = again(layer, x).sum()
    y.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)
    with pytest.raises(TapeError, match="was freed by an earlier backward; call the earlier one with retain_graph"):
        y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)


@pytest.mark.parametrize(("which", "name"), [(0, "arrays"), *((i, rf"arrays\[{i}\]") for i in range(1, 5))])
def test_a_change_between_the_two_runs_is_refused(which, name):
    x, layer = leaf(3, 4), Layer()
    y = again(layer, x).sum()
    changed = (x, *layer.parameters)[which]
    with no_grad():
        changed.copy_(0.0)
    with pytest.raises(TapeError, match=f"op 'recompute': its saved array '{name}' was changed in place"):
        y.backward()
    assert x.grad is None


def test_a_pullback_that_raises_leaves_every_gradient_as_it_was():
    x, layer, w = leaf(3, 4), Layer(), leaf(3, 4, seed=8)
    (x * w).sum().backward()
    before = x.grad.tolist(), w.grad.tolist()

    def broken(x):
        y = layer(x)
        if layer.runs > 1:
            y.register_hook(lambda g: g.sum())
        return y

    loss = (recompute(broken, x * w, *layer.parameters) * w).sum()
    with pytest.raises(ShapeError, match="hook: returned a gradient"):
        loss.backward()
    assert (x.grad.tolist(), w.grad.tolist()) == before
    assert all(p.grad is None for p in layer.parameters)


def test_a_parameter_that_was_not_given_is_not_forgotten_silently():
    x, layer = leaf(3, 4), Layer()
    y = recompute(layer, x, *layer.parameters[:2]).sum()
    with pytest.raises(TapeError, match=r"recompute: the function uses 2 tensor\(s\) with a gradient that were not "
                                        "given; pass them as parameters"):
        y.backward()
    assert x.grad is None
    assert all(p.grad is None for p in layer.parameters)


def test_hooks_see_the_whole_gradient_once():
    x, layer, seen = leaf(3, 4), Layer(), []
    layer.parameters[3].register_hook(lambda g: seen.append(g.tolist()))
    (again(layer, x) + again(layer, x)).sum().backward()
    assert seen == [layer.parameters[3].grad.tolist()]


def test_checking_mode_locks_what_is_kept_and_frees_it():
    x, layer = leaf(3, 4), Layer()
    view = x.data[:]
    with checking():
        y = again(layer, x).sum()
        with pytest.raises(ValueError, match="read-only"):
            x.data[0] = 1.0
        y.backward()
        y = again(layer, x).sum()
        view[0] += 1.0
        with pytest.raises(TapeError, match="op 'recompute': its saved array"):
            y.backward()
    del y
    gc.collect()
    assert Lock._holders == {}


def test_the_second_run_may_be_another_function():
    x, calls = leaf(3), []

    def first(x):
        calls.append("first")
        return x * 3.0

    def second(x):
        calls.append("second")
        return x * 3.0

    recompute(first, x, again=second).sum().backward()
    assert calls == ["first", "second"]
    assert x.grad.tolist() == [3.0, 3.0, 3.0]
