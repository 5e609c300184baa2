"""Hooks on gradients, and their handles."""

import numpy as np
import pytest

from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.errors import DTypeError, ShapeError


def test_a_hook_that_removes_itself_skips_no_other():
    x, seen = Tensor([1.0], requires_grad=True), []

    def once(gradient):
        seen.append("once")
        handle.remove()

    handle = x.register_hook(once)
    x.register_hook(lambda gradient: seen.append("always"))
    for _ in range(2):
        (x * 2.0).sum().backward()
    assert seen == ["once", "always", "always"]
    handle()  # the same as remove; a second time does nothing


def test_a_handle_ends_with_its_block():
    x, seen = Tensor([1.0], requires_grad=True), []
    with x.register_hook(lambda gradient: seen.append(gradient.item())):
        (x * 3.0).sum().backward()
    (x * 5.0).sum().backward()
    assert seen == [3.0]


@pytest.mark.parametrize(("value", "kind", "text"), [
    (np.ones(1), DTypeError, "hook: returned ndarray; return a Tensor, or None to keep the gradient"),
    ("text", DTypeError, "hook: returned str"), (2.0, DTypeError, "hook: returned float"),
    (Tensor([1.0, 2.0]), ShapeError, r"hook: returned a gradient of shape \(2,\) in place of \(1,\)"),
    (Tensor(np.ones(1)), DTypeError, "hook: returned a gradient of dtype float64 in place of float32; convert it")],
    ids=str)
def test_what_a_hook_may_not_return(value, kind, text):
    x = Tensor([1.0], requires_grad=True)
    x.register_hook(lambda gradient: value)
    with pytest.raises(kind, match=text):
        (x * 2.0).sum().backward()
    assert x.grad is None
