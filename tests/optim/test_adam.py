import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.optim import Adam


def test_the_first_step_has_the_size_of_the_rate():
    p = Tensor([1.0, 1.0], requires_grad=True)
    p.grad = Tensor([1e-3, -1e3])
    Adam([p], lr=0.1).step()
    assert p.tolist() == pytest.approx([0.9, 1.1], abs=1e-5)


def test_amsgrad_keeps_the_largest_second_moment():
    p, q = (Tensor([1.0], requires_grad=True) for _ in range(2))
    optimizers = Adam([p], lr=0.1, amsgrad=True), Adam([q], lr=0.1)
    for g in (10.0, *[0.1] * 50):
        p.grad, q.grad = Tensor([g]), Tensor([g])
        for optimizer in optimizers:
            optimizer.step()
    state = optimizers[0].state[p]
    assert state["max_exp_avg_sq"] > state["exp_avg_sq"]
    assert p.item() > q.item()
