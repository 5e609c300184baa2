"""grad, jvp, hvp, jacobian and hessian: PyTorch's names, shapes and values."""

import numpy as np
import pytest

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.engine.functional import grad, hessian, hvp, jacobian, jvp
from tinygrad_gpt.errors import ShapeError, TapeError


def leaf(*shape, seed=0):
    return Tensor(np.asarray(np.random.default_rng(seed).standard_normal(shape)), requires_grad=True)


# -- grad


def test_no_gradient_of_a_tensor_changes():
    x, w = leaf(3), leaf(3, seed=1)
    found = grad((x * w).sum(), [x, w])
    assert np.array_equal(found[0].numpy(), w.numpy())
    assert np.array_equal(found[1].numpy(), x.numpy())
    assert x.grad is None
    assert w.grad is None


def test_several_outputs_are_summed_with_their_gradients():
    x = leaf(3)
    (found,) = grad([x * 2.0, (x * x).sum()], x, [np.array([1.0, 0.0, 3.0]), np.array(1.0)])
    assert found.numpy() == pytest.approx(np.array([2.0, 0.0, 6.0]) + 2 * x.numpy())


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_output_may_be_what_another_was_computed_from(create_graph):
    x = Tensor(np.array([2.0]), requires_grad=True)
    h = x * x
    y = (h * h).sum()
    found = grad([y, h, h.sum()], [x, h], [None, np.array([1.0]), None], create_graph=create_graph)
    assert [g.tolist() for g in found] == [[40.0], [10.0]]  # 4 x³ + 4 x; 2 h + 2
    if create_graph:
        assert grad([g.sum() for g in found], x)[0].tolist() == [60.0]  # 12 x² + 4 + 4 x


def test_inputs_may_be_results_of_ops():
    x = leaf(3)
    h = ops.exp(x)
    (found,) = grad((h * h).sum(), h)
    assert found.numpy() == pytest.approx(2 * h.numpy())
    (slope,) = grad((ops.exp(x) * 1.0).sum(), x, create_graph=True)
    assert grad(slope.sum(), x)[0].numpy() == pytest.approx(np.exp(x.numpy()))
    h = ops.exp(x)
    (slope,) = grad((h * h * h).sum(), h, create_graph=True)
    assert grad(slope.sum(), h, retain_graph=True)[0].numpy() == pytest.approx(6 * h.numpy())
    assert grad(slope.sum(), x)[0].numpy() == pytest.approx(6 * h.numpy() ** 2)


def test_an_output_may_be_its_own_input():
    x = leaf(2)
    assert grad(x, x, np.array([3.0, 4.0]))[0].tolist() == [3.0, 4.0]


def test_an_unused_input_is_named_or_allowed():
    x, unused, constant = leaf(2), leaf(2), Tensor([1.0, 2.0])
    for stranger, why in ((unused, "is not among what the outputs were computed from"),
                          (constant, "does not require gradients; make it with requires_grad=True, before")):
        with pytest.raises(TapeError, match=rf"grad: inputs\[1\] {why}"):
            grad((x * x).sum(), [x, stranger])
        assert grad((x * x).sum(), [x, stranger], allow_unused=True)[1] is None


def test_an_input_that_does_not_require_gradients_leaves_the_graph():
    x, y = leaf(2), Tensor(np.array([1.0, 2.0]))
    product = (x * y).sum()
    with pytest.raises(TapeError, match=r"grad: inputs\[0\] does not require gradients"):
        grad(product, y)
    assert grad(product, x)[0].tolist() == [1.0, 2.0]


def test_the_graph_is_freed_unless_it_is_kept():
    x = leaf(2)
    y = (x * x).sum()
    grad(y, x, retain_graph=True)
    grad(y, x)
    with pytest.raises(TapeError, match="was freed"):
        grad(y, x)


def test_the_starting_gradient_is_checked():
    x = leaf(2)
    with pytest.raises(TapeError, match=r"grad: the tensor has shape \(2,\), not one value"):
        grad(x * x, x)
    with pytest.raises(ShapeError, match=r"grad: the gradient is \(3,\) but the tensor is \(2,\)"):
        grad(x * x, x, np.ones(3))
    with pytest.raises(ShapeError, match="grad_outputs: expected 1, one for each tensor, got 2"):
        grad(x * x, x, [np.ones(2), np.ones(2)])
    with pytest.raises(TapeError, match="grad: this tensor is on no tape"):
        grad(Tensor([1.0]).sum(), x)


def test_a_gradient_that_was_not_recorded_says_how_to_record_it():
    x = leaf(2)
    (x * x).sum().backward()
    with pytest.raises(TapeError, match="a gradient: with create_graph=True"):
        x.grad.sum().backward()


def test_results_share_no_memory_with_what_was_given():
    x, cotangent = leaf(2), np.ones(2)
    (found,) = grad(x + 0.0, x, cotangent)
    found.data[...] = 7
    assert cotangent.tolist() == [1.0, 1.0]


# -- products, Jacobians, Hessians: values that can be worked out by hand


def test_jvp_is_the_jacobian_times_a_direction():
    y, product = jvp(lambda x: x * x * x, Tensor(np.array([1.0, 2.0])), np.array([1.0, 10.0]))
    assert y.tolist() == [1.0, 8.0]
    assert product.tolist() == [3.0, 120.0]
    _, product = jvp(lambda a, b: a * b, (Tensor(np.array([2.0])), Tensor(np.array([3.0]))),
                     (np.array([1.0]), np.array([10.0])))
    assert product.tolist() == [23.0]


def test_jvp_of_ones_without_a_direction():
    assert jvp(lambda x: x * 5.0, Tensor(np.array([1.0, 2.0])))[1].tolist() == [5.0, 5.0]


def test_hvp_is_the_hessian_times_a_direction():
    x, v = Tensor(np.array([1.0, 2.0])), np.array([10.0, 1.0])
    value, product = hvp(lambda x: (x * x * x).sum() + x[0] * x[1], x, v)
    assert value.item() == 11.0
    assert product.tolist() == [61.0, 22.0]  # [[6, 1], [1, 12]] v


def test_a_function_or_a_direction_of_another_kind_is_refused():
    x = Tensor(np.ones(2))
    for product in (jvp, hvp):
        with pytest.raises(ShapeError, match="v: expected 1, one for each tensor, got 2"):
            product(lambda x: (x * x).sum(), x, [np.ones(2), np.ones(2)])
        with pytest.raises(ShapeError, match=r"direction: the gradient is \(3,\) but the tensor is \(2,\)"):
            product(lambda x: (x * x).sum(), x, np.ones(3))
    for function in (jvp, hvp, jacobian, hessian):
        with pytest.raises(TapeError, match="func: returned float, expected one Tensor; compute it from the arguments"):
            function(lambda x: (x * x).sum().item(), x)
        with pytest.raises(TapeError, match="grad: this tensor is on no tape"):
            function(lambda x: Tensor(1.0), x)
    for function in (hvp, hessian):
        with pytest.raises(TapeError, match=r"grad: the tensor has shape \(2,\), not one value"):
            function(lambda x: x * x, x)


def test_of_no_numbers_the_results_are_empty():
    x = Tensor(np.ones((0, 2)))
    assert jacobian(lambda x: x * x, x).shape == hessian(lambda x: (x * x).sum(), x).shape == (0, 2, 0, 2)
    assert hvp(lambda x: (x * x).sum(), x)[1].shape == (0, 2)


def test_a_function_without_curvature_has_the_hessian_zero():
    x = Tensor(np.array([1.0, 2.0]))
    assert hvp(lambda x: (x * 3.0).sum(), x, np.ones(2))[1].tolist() == [0.0, 0.0]
    assert hessian(lambda x: (x * 3.0).sum(), x).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_jacobian_and_hessian_have_the_shapes_of_result_and_inputs():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert jacobian(lambda x: x.sum(axis=1), x).tolist() == [[[1] * 3, [0] * 3], [[0] * 3, [1] * 3]]
    assert hessian(lambda x: (x * x).sum(), x).shape == (2, 3, 2, 3)
    pair = (Tensor(np.ones(2)), Tensor(np.ones(3)))
    blocks = hessian(lambda a, b: (a.sum() * b).sum() + (a * a).sum(), pair)
    assert [[block.shape for block in row] for row in blocks] == [[(2, 2), (2, 3)], [(3, 2), (3, 3)]]
    assert blocks[0][0].tolist() == [[2, 0], [0, 2]]
    assert blocks[0][1].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert blocks[1][1].tolist() == [[0] * 3] * 3


def test_inputs_are_left_alone():
    x = leaf(2)
    hessian(lambda x: (x * x).sum(), x)
    assert x.grad is None
    plain = Tensor(np.ones(2))
    jacobian(lambda x: x * x, plain)
    assert not plain.requires_grad


# -- the same functions in PyTorch


def mlp(linear, gelu, total):
    def function(x, weight, bias):
        return total(gelu(linear(x, weight, bias)) ** 2.0)

    return function


def attention_loss(q, k):
    torch = pytest.importorskip("torch")
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    visible = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    return (scores.masked_fill(~visible, -torch.inf).softmax(-1) @ k).pow(3).sum()


@pytest.mark.parametrize("which", ["mlp", "attention"])
def test_values_are_torchs(which):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[oracle]'")
    from torch.autograd import functional

    if which == "mlp":
        ours = mlp(ops.linear, ops.gelu, lambda y: y.sum())
        theirs = mlp(lambda x, w, b: x @ w + b, lambda y: torch.nn.functional.gelu(y, approximate="tanh"), torch.sum)
        inputs = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(3, 2), (2, 4), (4,)])]
    else:
        def ours(q, k):
            return (ops.attention(q, k, k) ** 3.0).sum()

        theirs = attention_loss
        inputs = [np.random.default_rng(i).standard_normal((1, 2, 3, 2)) for i in range(2)]
    v = [np.random.default_rng(9 + i).standard_normal(x.shape) for i, x in enumerate(inputs)]
    a, b = tuple(map(Tensor, inputs)), tuple(map(torch.tensor, inputs))
    tv = tuple(map(torch.tensor, v))
    for name, found, expected in (
            ("hvp", hvp(ours, a, v)[1], functional.hvp(theirs, b, tv)[1]),
            ("jvp", [jvp(ours, a, v)[1]], [functional.jvp(theirs, b, tv)[1]]),
            ("jacobian", jacobian(ours, a), functional.jacobian(theirs, b)),
            ("hessian", [h for row in hessian(ours, a) for h in row],
             [h for row in functional.hessian(theirs, b) for h in row])):
        for one, other in zip(found, expected, strict=True):
            assert one.numpy() == pytest.approx(other.numpy(), rel=1e-9, abs=1e-9), name
            assert one.shape == tuple(other.shape)
