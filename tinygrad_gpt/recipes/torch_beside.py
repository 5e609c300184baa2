"""The same step in PyTorch, where PyTorch is installed: a second opinion on values and gradients."""

from importlib.util import find_spec

import numpy as np

from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.text_step import TextStep
from tinygrad_gpt.study.compare import Record

__all__ = ["torch_gradients", "torch_records"]


def torch_gradients(step: TextStep) -> dict[str, np.ndarray] | None:
    """The gradients of a step without dropout, by PyTorch, by the names of the parameters.

    Returns:
        None where PyTorch is not installed, for encoders, and for classifiers that do not read at the last token, as
        GPT-2 does.
    """
    found = torch_records(step)
    if found is None:
        return None
    names = {name for name, _ in step.parameters}
    return {r.label: np.zeros(r.value.shape) if r.grad is None else r.grad for r in found if r.label in names}


def torch_records(step: TextStep) -> list[Record] | None:
    """Values and gradients by PyTorch: of the parameters, of the layers in the order of the model, and of the loss.

    Returns:
        As for `torch_gradients`. The labels are the names of parameters and modules, and "loss".
    """
    classifier = step.model if isinstance(step.model, GPT2Classifier) else None
    if find_spec("torch") is None or not isinstance(step.transformer, GPT2):
        return None
    if classifier is not None and not _reads_as_gpt2(classifier.reading):
        return None
    import torch

    weights = {name: torch.from_numpy(p.numpy().copy()).requires_grad_() for name, p in step.parameters}
    kept = dict(weights)
    prefix = "transformer." if classifier else ""
    inner = {name.removeprefix(prefix): w for name, w in weights.items()}

    def keep(name, value):
        kept[prefix + name] = value
        value.retain_grad()
        return value

    config = step.transformer.config
    x = _hidden(torch, inner, config, torch.from_numpy(step.ids), keep)
    logits = (x[:, -1] @ inner["score.weight"] + inner["score.bias"] if classifier
              else x @ inner.get("lm_head.weight", inner["wte.weight"].T))
    targets = torch.from_numpy(step.target_ids).reshape(-1)
    loss = kept["loss"] = torch.nn.functional.cross_entropy(logits.reshape(len(targets), -1), targets)
    loss.retain_grad()
    loss.backward()
    # A classifier computes its last block at the position that is read, and some of its layers twice.
    other = f"{prefix}h.{config.n_layer - 1}" if classifier else None
    return [Record(name, "", (), value.detach().numpy(), None if value.grad is None else value.grad.numpy())
            for name, value in kept.items() if name in weights or other is None or not name.startswith(other)]


def _reads_as_gpt2(reading: Reading) -> bool:
    return reading.causal and not reading.filled and reading.read in ("last", "last-real")


def _hidden(torch, weights, config: GPT2Config, ids, keep):
    """ids (B, T) -> the normalised residual stream (B, T, C); ``keep(name, value)`` is told each layer's output."""
    functional = torch.nn.functional

    def linear(x, name):
        bias = weights.get(f"{name}.bias")
        y = x @ weights[f"{name}.weight"]
        return y if bias is None else y + bias

    def norm(x, name):
        return keep(name, functional.layer_norm(x, (config.n_embd,), weights[f"{name}.weight"],
                                                weights[f"{name}.bias"], config.layer_norm_epsilon))

    def attention(x, name):
        batch, length, width = x.shape
        qkv = keep(f"{name}.c_attn", linear(x, f"{name}.c_attn"))
        heads = qkv.view(batch, length, 3, config.n_head, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*heads, is_causal=True)  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(batch, length, width)
        return keep(f"{name}.c_proj", linear(y, f"{name}.c_proj"))

    x = keep("wte", weights["wte.weight"][ids]) + weights["wpe.weight"][:ids.shape[1]]
    for i in range(config.n_layer):
        x = x + attention(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn")
        hidden = functional.gelu(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
        x = keep(f"h.{i}", x + keep(f"h.{i}.mlp.c_proj", linear(hidden, f"h.{i}.mlp.c_proj")))
    return norm(x, "ln_f")
