"""Changes in place: the memory is the same, other names of it see them, and no gradient is silently wrong."""

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.engine import Tensor, no_grad
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError


def update(name, x, y):
    exec(f"x {name} y", {"x": x, "y": y})


@pytest.mark.parametrize(("name", "expected"), [
    ("+=", [3.0, 5.0]), ("-=", [-1.0, -1.0]), ("*=", [2.0, 6.0]), ("/=", [0.5, 2 / 3]), ("**=", [1.0, 8.0])])
def test_augmented_assignment_changes_the_memory(name, expected, backend):
    x = Tensor(np.array([1.0, 2.0]), backend=backend.name)
    array, view = x.data, x[:1]
    update(name, x, Tensor(np.array([2.0, 3.0]), backend=backend.name))
    assert x.data is array
    assert x.tolist() == expected
    assert view.tolist() == expected[:1]


def test_a_training_step_by_hand():
    x = Tensor([1.0, 2.0], requires_grad=True)
    alias = x
    for _ in range(3):
        (x * x).sum().backward()
        with no_grad():
            x -= 0.1 * x.grad
        x.grad = None
    assert x is alias
    assert x.requires_grad
    assert np.allclose(x.numpy(), [0.512, 1.024])
    (x * x).sum().backward()
    x.data -= 0.5 * x.grad
    assert np.allclose(x.numpy(), 0.0)


def test_a_leaf_on_the_tape_is_refused():
    x = Tensor([1.0], requires_grad=True)
    for change in (lambda: update("+=", x, 1.0), lambda: x.mul_(2.0)):
        with pytest.raises(TapeError, match=r"in-place \w+: this is a leaf that requires gradients; change it in"):
            change()
    assert x.tolist() == [1.0]


@pytest.mark.parametrize("name", ["+=", "-=", "*=", "/=", "**="])
def test_a_result_on_the_tape_has_the_gradient_of_the_new_value(name):
    """As if the result were a new tensor; the names of the old one see it."""
    gradients = []
    for in_place in (True, False):
        a, b = (Tensor(np.array(v), requires_grad=True) for v in ([1.5, 2.0], [3.0, 0.5]))
        y = a * 2.0
        alias = y
        if in_place:
            update(name, y, b)
            assert alias is y
        else:
            y = eval(f"y {name[:-1]} b")
        (y * y).sum().backward()
        gradients.append([y.tolist(), a.grad.tolist(), b.grad.tolist()])
    assert gradients[0] == gradients[1]


def test_a_sum_over_losses():
    x = Tensor([1.0, 2.0], requires_grad=True)
    total = Tensor(0.0)
    for _ in range(3):
        total += (x * x).sum()
    total.backward()
    assert x.grad.tolist() == [6.0, 12.0]


def test_a_saved_value_that_changes_is_refused_on_the_way_back():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    y += 1.0
    with pytest.raises(TapeError, match="op 'exp': its saved array 'y' was changed in place"):
        y.sum().backward()


def test_a_view_on_the_tape_is_refused():
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    y = x * 2.0
    view = y[0]
    for target in (view, y):
        with pytest.raises(TapeError, match="shares its memory with a view"):
            update("*=", target, 2.0)
    with pytest.raises(TapeError, match="shares its memory with a view"):
        update("+=", Tensor(np.zeros(4))[1:3], Tensor(np.ones(2), requires_grad=True))


def test_values_on_the_tape_are_not_written_silently():
    x, target = Tensor([1.0], requires_grad=True), Tensor([0.0, 0.0])
    with pytest.raises(TapeError, match="in-place write: the values are on the tape, which does not record writes"):
        target[0] = x[0]
    target[0] = x[0].detach()
    assert target.tolist() == [1.0, 0.0]


def test_a_result_of_another_shape_or_kind_is_refused():
    x = Tensor([1, 2])
    with pytest.raises(DTypeError, match="in-place add: the result is float32, but the tensor is int64; compute"):
        x += 0.5
    with pytest.raises(ShapeError, match=r"in-place add: the result is \(3, 2\), but the tensor is \(2,\)"):
        x += Tensor([[1, 1]] * 3)
    assert x.tolist() == [1, 2]


def test_methods(backend):
    x = Tensor([1.0, 2.0])
    assert x.add_(1.0, alpha=2).sub_(Tensor([1.0, 1.0])).mul_(2.0).div_(4.0).pow_(2.0) is x
    assert x.tolist() == [1.0, 2.25]
    assert x.fill_(7.0).tolist() == [7.0, 7.0]
    assert x.zero_().tolist() == [0.0, 0.0]
    y = Tensor([1.0], requires_grad=True) * 2.0
    assert not y.detach_().requires_grad


def test_random_values_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    from tinygrad_gpt import manual_seed

    torch.manual_seed(5)
    manual_seed(5)
    assert np.allclose(Tensor(np.zeros(20, np.float32)).normal_(1.0, 0.5).numpy(),
                       torch.zeros(20).normal_(1.0, 0.5).numpy(), atol=1e-6)
    assert np.array_equal(Tensor([0.0, 0.0]).uniform_(-1, 2).numpy(), torch.zeros(2).uniform_(-1, 2).numpy())


def test_a_write_is_seen_by_graphs_that_saved_the_old_value():
    x, w = Tensor([3.0], requires_grad=True), Tensor([2.0])
    y = ops.mul(x, w)
    w += 1.0
    with pytest.raises(TapeError, match="its saved array 'b' was changed in place"):
        y.backward()
