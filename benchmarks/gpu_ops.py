"""The part of gpu.py that asks whether CuPy is right: every op, the kernels at a model's sizes, and a whole model."""

import sys

import numpy as np
from common import REPOSITORY, tokens

sys.path.append(str(REPOSITORY / "tests" / "helpers"))
from checks import Call, cast, error, is_float, samples

from tinygrad_gpt.backend import default_backend, on_backend
from tinygrad_gpt.backend.precision import POLICIES
from tinygrad_gpt.backend.precision import precision as policy
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.study.gradcheck import Draw

__all__ = ["at_size", "ops", "whole_model"]

SEEDS = 3  # of the samples of each op


def ops():
    """For each op the largest difference from NumPy, in float32, of values and gradients; see `checks.error`."""
    worst, failures = {}, {}
    for name, op in OPS.items():
        try:
            worst[name] = max(_difference(op, arguments, settings) for seed in range(SEEDS)
                              for arguments, settings in samples(op, seed))
        except Exception as failure:
            failures[name] = f"{type(failure).__name__}: {failure}"
    return {"worst": worst, "failures": failures}


def _difference(op, arguments, settings):
    settings = {**settings, "dtype": "float32"} if "dtype" in settings else settings
    arguments = [cast(a, np.float32) for a in arguments]
    here, there = (Call(op, arguments, settings, backend=name).values()
                   for name in ("numpy", default_backend().name))
    return max(error(b, a) for a, b in zip(here, there, strict=True))


def whole_model(batch, length, **sizes):
    """Loss and gradients of GPT-2 beside NumPy's: the largest difference relative to the largest value."""
    drawn = tokens(sizes["vocab_size"], batch, length + 1)
    found = []
    for name in ("numpy", default_backend().name):
        with on_backend(name) as backend:
            model = GPT2(GPT2Config(n_ctx=length, **sizes))
            loss = model.loss(*(backend.from_numpy(part.copy()) for part in (drawn[:, :-1], drawn[:, 1:])))
            loss.backward()
            found.append((loss.item(), {name: p.grad.numpy() for name, p in model.named_parameters()}))
    (here, expected), (there, grads) = found
    worst = {name: float(abs(grads[name] - g).max() / abs(g).max()) for name, g in expected.items()}
    at = max(worst, key=worst.__getitem__)
    return {"loss": abs(there - here) / abs(here), "gradient": worst[at], "of": at}


def at_size(texts, length, width, n_head, vocab_size):
    """For each op that has CUDA kernels, and `linear`: the largest difference from NumPy's float64 in each precision.

    Args:
        texts, length, width, n_head, vocab_size: of the arrays, those of a model.

    Returns:
        op -> precision -> the difference of values and gradients, from the same, rounded, arguments; or the error.
    """
    found = {}
    for case, (name, arguments, settings) in _cases(Draw(), texts, length, width, n_head, vocab_size).items():
        found[case] = {precision: _from_float64(OPS[name], arguments, settings, precision) for precision in POLICIES}
    return {"cases": found}


def _cases(r, texts, length, width, n_head, vocab_size):
    rows, x, qkv = texts * length, r.normal(texts, length, width), r.normal(texts, length, 3 * width)
    targets, p = r.integers(vocab_size, rows), {"p": 0.25}
    return {
        "layer_norm": ("layer_norm", [x, r.normal(width), r.normal(width)], {}),
        "linear": ("linear", [x, r.normal(width, 4 * width) / width**0.5, r.normal(4 * width)], {}),
        "gelu": ("gelu", [x], {}),
        "bias_gelu": ("bias_gelu", [x, r.normal(width)], {}),
        "softmax": ("softmax", [x], {}),
        "dropout": ("dropout", [x, r.mask(*x.shape)], p),
        "embedding": ("embedding", [r.normal(vocab_size, width), r.integers(vocab_size, texts, length)], {}),
        "cross_entropy": ("cross_entropy", [r.normal(rows, vocab_size), targets], {}),
        "linear_cross_entropy": ("linear_cross_entropy",
                                 [x.reshape(rows, width), r.normal(vocab_size, width) / width**0.5, targets], {}),
        "self_attention": ("self_attention", [qkv], {"n_head": n_head}),
        "self_attention, padded": ("self_attention", [qkv, r.padding(texts, length)], {"n_head": n_head}),
        "self_attention, dropout": ("self_attention", [qkv, None, r.mask(texts, n_head, length, length)],
                                    {"n_head": n_head} | p),
    }


def _from_float64(op, arguments, settings, precision):
    dtype = POLICIES[precision].dtype
    rounded = [cast(a, dtype) for a in arguments]
    try:
        with policy(precision):
            ours = Call(op, rounded, settings, backend=default_backend().name)
        cotangent = default_backend().to_numpy(ours.cotangent).astype(np.float64)
        exact = Call(op, [a.astype(np.float64) if is_float(b) else a for a, b in zip(rounded, arguments, strict=True)],
                     settings, cotangent=cotangent)
        return max(error(a.astype(np.float64), b) for a, b in zip(ours.values(), exact.values(), strict=True))
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"
