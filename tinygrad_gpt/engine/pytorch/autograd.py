"""What of `torch.autograd` is here, under its names: `autograd.grad`, `autograd.functional.hessian`."""

from types import SimpleNamespace

from tinygrad_gpt.engine import functional
from tinygrad_gpt.engine.mode import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["autograd"]

autograd = SimpleNamespace(
    grad=functional.grad, enable_grad=enable_grad, inference_mode=inference_mode, no_grad=no_grad,
    set_grad_enabled=set_grad_enabled, functional=functional)
