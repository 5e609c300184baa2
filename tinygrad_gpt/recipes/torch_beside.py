"""The same step in PyTorch, where PyTorch is installed: a second opinion on gradients."""

import numpy as np

from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2Config
from tinygrad_gpt.recipes.text_step import TextStep

__all__ = ["torch_gradients"]


def torch_gradients(step: TextStep) -> dict[str, np.ndarray] | None:
    """The gradients of a step without dropout, by PyTorch, by the names of the parameters.

    Returns:
        None where PyTorch is not installed, and for classifiers that read in another way than GPT-2: at the last token.
    """
    try:
        import torch
    except ImportError:
        return None
    model = step.model
    is_classifier = isinstance(model, GPT2Classifier)
    if is_classifier and (not model.reading.causal or model.reading.read != "last"):
        return None
    weights = {name: torch.from_numpy(p.numpy().copy()).requires_grad_() for name, p in step.parameters}
    inner = {name.removeprefix("transformer."): w for name, w in weights.items()}
    config = model.transformer.config if is_classifier else model.config
    x = _hidden(torch, inner, config, torch.from_numpy(step.ids))
    logits = (x[:, -1] @ inner["score.weight"] + inner["score.bias"] if is_classifier
              else x @ inner.get("lm_head.weight", inner["wte.weight"].T))
    targets = torch.from_numpy(step.target_ids).reshape(-1)
    torch.nn.functional.cross_entropy(logits.reshape(len(targets), -1), targets).backward()
    return {name: np.zeros(w.shape) if w.grad is None else w.grad.numpy() for name, w in weights.items()}


def _hidden(torch, weights, config: GPT2Config, ids):
    """ids (B, T) -> the normalised residual stream (B, T, C)."""
    functional = torch.nn.functional

    def linear(x, name):
        bias = weights.get(f"{name}.bias")
        return x @ weights[f"{name}.weight"] if bias is None else x @ weights[f"{name}.weight"] + bias

    def norm(x, name):
        return functional.layer_norm(x, (config.n_embd,), weights[f"{name}.weight"], weights[f"{name}.bias"],
                                     config.layer_norm_epsilon)

    def attention(x, name):
        batch, length, width = x.shape
        heads = linear(x, f"{name}.c_attn").view(batch, length, 3, config.n_head, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*heads, is_causal=True)  # (B, H, T, D)
        return linear(y.transpose(1, 2).reshape(batch, length, width), f"{name}.c_proj")

    x = weights["wte.weight"][ids] + weights["wpe.weight"][:ids.shape[1]]
    for i in range(config.n_layer):
        x = x + attention(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn")
        hidden = functional.gelu(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
        x = x + linear(hidden, f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f")
