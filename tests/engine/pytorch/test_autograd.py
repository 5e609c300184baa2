"""`torch.autograd`'s names."""

import tinygrad_gpt as torch


def test_the_names_are_those_of_the_package():
    for name in ("grad", "no_grad", "enable_grad", "inference_mode", "set_grad_enabled"):
        assert getattr(torch.autograd, name) is getattr(torch, name)
    for name in ("hessian", "hvp", "jacobian", "jvp"):
        assert getattr(torch.autograd.functional, name) is getattr(torch, name)
