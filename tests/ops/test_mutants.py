"""Every small change of a gradient rule, in the plain and in the fast form of an op, must make the sweep fail.

Of the CUDA forms, run with their kernels on the CPU, those are changed whose gradient is made by one or two launches.
The others are only compared with the plain forms, in test_kernels.py: attention and self_attention would take
minutes here, and embedding, linear and linear_cross_entropy have branches for cases that the samples do not contain.
"""

import functools
import os
import warnings
from collections import Counter

import cuda_on_cpu
import numpy as np
import pytest
from checks import CHECKS, Call, assert_close, forms_agree_in_small_parts, samples, saves_what_it_says
from mutants import copies, mutants, returns_in_a_child

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS, Tensor, using_ops
from tinygrad_gpt.study.gradcheck import Draw

WITH_KERNELS = ("bias_gelu", "cross_entropy", "dropout", "gelu", "layer_norm", "softmax")
NO_KERNELS = pytest.mark.skipif(cuda_on_cpu.COMPILER is None or not hasattr(os, "fork"),
                                reason="g++, which compiles the kernels for the CPU, or fork is missing")
FORMS = [*((name, form) for name in sorted(OPS) for form in ("plain", "fast") if getattr(OPS[name], form)),
         *(pytest.param(name, "cuda", marks=NO_KERNELS) for name in WITH_KERNELS)]
ONE_PULLBACK = {"pullbacks exchanged": "only one argument has a gradient: there is nothing to exchange"}
SAME_DTYPE = "g has the dtype of the arguments and of the result"
SAME_BACKEND = "all arrays of a call are on one backend"
FOUR_AXES = "of four axes, the third is number 2 and number -2"
TWO_AXES = "of two axes, the last is number 1 and number -1"
COVERED = "slices of any size cover the rows"
SUM_ROWS = "in return backend_of(a).bmm(xp.ones((1, a.shape[0]), dtype=a.dtype), a)[0]"
SUMS = {f"constant + 1: 1 {SUM_ROWS}": "of two equal rows the first is taken",
        f"constant - 1: 0 {SUM_ROWS}": "of one row, the last is the first"}
LINE = "bmm, scale = (backend_of(g).bmm, 1 / math.sqrt(q.shape[-1] or 1))"
TILES = "for i, (at_q, at_k) in enumerate(tiles(q, k, mask.causal)):"
ZEROS = "qkv_grads = [xp.zeros_like(a) for a in (q, k, v)]"
EXPONENTIALS = ("saved.exps[i] if saved.exps else _exponentials(xp, q[at_q], k[at_k], part(mask.padding, at_q, at_k), "
                "mask.causal, saved.row_max[at_q])[0]")
GRADS = ("q_grad", "k_grad", "v_grad")
ATTENTION = {
    **{f"g -> {other}: g in {LINE}": SAME_BACKEND for other in ("q", "k", "v", *GRADS)},
    **{f"q -> {other}: q in {LINE}": "queries, keys, values and their gradients have one head size"
       for other in ("g", "k", "v", *GRADS)},
    **{f"constant {change}: 1 in {LINE}": "heads of no size have no gradient" for change in ("+ 1", "- 1")},
    **{f"sign: -2 in {line}": FOUR_AXES for line in (
        "v_grad[at_k] += bmm(U.swapaxes(-1, -2), g[at_q])", "S_grad = bmm(g[at_q], v[at_k].swapaxes(-1, -2))",
        "k_grad[at_k] += bmm(S_grad.swapaxes(-1, -2), q[at_q] * scale)")},
    **{f"q -> {other}: q in {TILES}": "of a tile only the shape counts" for other in ("g", "q_grad")},
    **{f"k -> {other}: k in {TILES}": "of a tile only the shape counts" for other in ("v", "k_grad", "v_grad")},
    f"never: {EXPONENTIALS} in e = {EXPONENTIALS}": "what was kept is computed again: slower",
    "e -> U: e in U = e * kept * (1 / (1 - mask.p))": "they are the same until then",
}
PLAIN_ATTENTION = {f"sign: -2 in {line}": FOUR_AXES for line in (
    "v_grad = U.swapaxes(-1, -2) @ g", "U_grad = g @ v.swapaxes(-1, -2)",
    "k_grad = scale * (S_grad.swapaxes(-1, -2) @ q)")}
GELU = {f"h -> y: h in {line}": "h is made in the memory of y" for line in (
    "xp.multiply(h, 6 * CUBIC * SQRT_2_OVER_PI, out=slope)", "xp.tanh(h, out=h)", "slope *= 1 - h", "slope *= h")}
ROWS = "as many rows, or of one dtype"
SLICES = "in for rows in equal_slices(len(x), -(-len(x) * len(weight) // LOGITS)):"
N_SLICES = "-len(x) * len(weight)"
WEIGHT_GRAD = "weight_grad = xp.zeros(weight.shape, dtype=x.dtype) if needs_input_grad[1] and (not len(x)) else None"
X_GRAD = "x_grad = xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None"
UNASKED = "a gradient is made for which nobody asks: slower"
BOTH_PASSES = {
    **{f"{change} {SLICES}": COVERED for change in (
        f"only left: {N_SLICES}", f"only right: {N_SLICES}", f"operator: {N_SLICES}", "sign: -len(x)",
        f"only left: {N_SLICES} // LOGITS", f"only right: {N_SLICES} // LOGITS", f"sign: -({N_SLICES} // LOGITS)",
        *(f"weight -> {other}: weight" for other in ("losses", "needs_input_grad", "shape", "share", "targets", "x")),
        *(f"x -> {other}: x" for other in (
            "losses", "needs_input_grad", "shape", "share", "targets", "weight")))},
    **{f"needs_input_grad -> shape: needs_input_grad in {line}": UNASKED for line in (
        X_GRAD, WEIGHT_GRAD, "if needs_input_grad[1]:\n    weight_grad = _plus_product(xp, weight_grad, z, x[rows])")},
    f"always: {X_GRAD.removeprefix('x_grad = ')} in {X_GRAD}": UNASKED,
    f"always: {WEIGHT_GRAD.removeprefix('weight_grad = ')} in {WEIGHT_GRAD}": "it is added to zeros: slower",
    "targets -> share: targets in x = x.reshape(len(targets), shape[-1])": ROWS,
    **{f"x -> {other}: x in {line}": ROWS for line, others in (
        (X_GRAD, ("losses", "share", "weight")), ("losses = xp.empty(len(x), dtype=x.dtype)", (
            "share", "targets", "weight")), (WEIGHT_GRAD, ("losses", "share", "targets", "weight")))
       for other in others},
}
SMOOTHING = {"spread_grad = share * scale * counted\n    q_sum = own_grad + c_sum * spread_grad":
             ("at_target", "shape", "share"),
             "grad -= spread_grad[:, None] * (1.0 if class_weight is None else class_weight)": ("share",)}
POW = "1.0 in safe = xp.where(xp.equal(exponent, 0), 1.0, base)"
LOG_BASE = "log_base = xp.log(xp.where(xp.equal(base, 0) & (exponent >= 0), 1.0, base))"
LAYER_NORM = "KERNELS.launch('layer_norm_grad_x', x, warps, g, x, weight, mean, rstd, grad_x, *flat)"
SOFTMAX = "KERNELS.launch('softmax_grad', g, math.prod(rows.shape[:-1]), rows, y_rows, grad, rows.shape[-1])"


def as_well(name, others, line):
    """Excuses for other names in place of one, of which only the shape or the dtype counts."""
    return {f"{name} -> {other}: {name} in {line}": "only its shape or its dtype counts" for other in others.split()}


# Changes after which the rule is the same mathematics; each with the reason.
EQUIVALENT = {"plain": {
    "add": {"pullbacks exchanged": "both gradients are g"},
    "pow": {f"constant + 1: {POW}": "this power is multiplied by 0",
            **{f"{change} in {LOG_BASE}": "of 0 to a negative power: test_edge_values.py" for change in (
                "constant - 1: 0", "only left: xp.equal(base, 0) & (exponent >= 0)",
                "swapped: xp.equal(base, 0) & (exponent >= 0)", *(f"exponent -> {name}: exponent" for name in (
                    "base", "g", "y")))}},
    "norm": {"constant + 1: 1.0 in length = xp.where(xp.equal(y, 0), 1.0, y)": "x is 0 there"},
    **{name: ONE_PULLBACK for name in ("cross_entropy", "dropout", "embedding")},
    "concat": {"constant: True in return [g[*before, slice(end - size, end)] for end, size in "
               "zip(ends, sizes, strict=True)]": "the lists have the same length"},
    "max": {f"g -> {other}: g in largest = xp.equal(x, y.reshape(kept)).astype(g.dtype)": SAME_DTYPE for other in "xy"},
    "attention": PLAIN_ATTENTION,
    "self_attention": {**ONE_PULLBACK, **PLAIN_ATTENTION},
}, "fast": {
    "cross_entropy": {**ONE_PULLBACK,
                      "own_grad -> q_sum: own_grad in q_sum = own_grad + c_sum * spread_grad":
                          "it is the same until then",
                      **{f"label_smoothing -> {other}: label_smoothing in if label_smoothing:\n    {line}":
                         "a test that only saves work: else 0 is added" for line, others in SMOOTHING.items()
                         for other in others}},
    "gelu": GELU,
    "bias_gelu": {**GELU, **SUMS},
    "layer_norm": SUMS,
    "linear": SUMS,
    "embedding": ONE_PULLBACK,
    "matmul": {"constant - 1: 0 in return grad[..., 0] if b_vector else grad": "of an axis of size 1, 0 is −1"},
    "linear_cross_entropy": {
        "p -> s: p in picked = (xp.arange(len(p)), targets[rows])": "they have as many rows",
        **{f"{change} in losses = share * xp.where(share, losses, 0.0)": "only beside ∞, in test_edge_values.py"
           for change in ("constant + 1: 0.0", "constant - 1: 0.0", "share -> losses: share",
                          "share -> softmax_minus_target: share")},
        "z -> x: z in total = xp.empty((z.shape[1], x.shape[1]), dtype=z.dtype)": "of one dtype",
        "return abs({}): return losses": "no loss is negative",
        **{f"sign: -1 in {line}": TWO_AXES for line in ("p -= p.max(axis=-1, keepdims=True)", "sums = p.sum(axis=-1)")},
        **{f"z -> {other}: z in for rows in cached_slices(z, TILE):": COVERED
           for other in ("losses", "share", "targets")},
        **{f"z -> {other}: z in losses = xp.empty(len(z), dtype=z.dtype)": ROWS for other in ("share", "targets")},
        **BOTH_PASSES},
    "attention": {**ATTENTION,
                  **{f"element {change}: [xp.zeros_like(a) for a in (q, k, v)] in {ZEROS}": "it is zeros"
                     for change in ("-({})", "2 * ({})", "0 * ({})", "({}) ** 2")},
                  **{f"{name} -> {other}: {name} in {ZEROS}": "they have one shape"
                     for name, other in (("q", "g"), ("k", "v"), ("v", "k"))}},
    "self_attention": {**ATTENTION, **ONE_PULLBACK,
                       **{f"g -> {other}: g in {LINE}": SAME_BACKEND for other in ("grads", "qkv")},
                       **{f"q -> {other}: q in {LINE}": "the last axis is a head, or its arrays are of one head size"
                          for other in ("grads", "qkv")},
                       **{f"{name} -> {other}: {name} in {TILES}": "as many queries as keys"
                          for name, others in (("q", ("k", "v", "k_grad", "v_grad")), ("k", ("g", "q", "q_grad")))
                          for other in others},
                       "qkv -> g: qkv in qkv_grad = xp.zeros(qkv.shape, dtype=qkv.dtype)": SAME_DTYPE},
}, "cuda": {
    "bias_gelu": {**as_well("g", "x bias", "grad_x = xp.empty(g.shape, dtype=g.dtype)"),
                  **as_well("x", "bias g grad_x", "grad_bias, = KERNELS.sum_rows('bias_gelu_grad', x, flat, 1, "
                            "xp.ascontiguousarray(g), x, bias, grad_x)")},
    "cross_entropy": {**ONE_PULLBACK,
                      **as_well("p", "g total", "grad = xp.empty(p.shape, dtype=p.dtype)"),
                      **as_well("p", "g grad total", "KERNELS.launch('cross_entropy_grad', p, rows, p, targets, "
                                "class_weight, g / total, grad, *settings)")},
    "dropout": {**ONE_PULLBACK,
                **as_well("x", "keep", "y = xp.empty(x.shape, dtype=x.dtype)"),
                **as_well("x", "y", "KERNELS.elementwise('dropout', x, xp.ascontiguousarray(x), keep, y, "
                          "float(1 / (1 - p)))")},
    "gelu": {**as_well("g", "x", "grad = xp.empty(g.shape, dtype=g.dtype)"),
             **as_well("x", "g grad", "KERNELS.elementwise('gelu_grad', x, xp.ascontiguousarray(g), x, grad)")},
    "layer_norm": {**as_well("g", "mean rstd weight x",
                             "g, grad_x = (xp.ascontiguousarray(g), xp.empty(shape, dtype=g.dtype))"),
                   **as_well("x", "g grad_x mean rstd weight", LAYER_NORM),
                   f"warps -> flat: warps in {LAYER_NORM}": "more blocks than rows: the others do nothing",
                   **as_well("x", "g grad_x mean rstd weight", "grad_weight, grad_bias = KERNELS.sum_rows("
                             "'layer_norm_grad_weights', x, flat, 2, g, x, mean, rstd)")},
    "softmax": {**as_well("g", "rows y y_rows", "grad = xp.empty(rows.shape, dtype=g.dtype)"),
                **as_well("rows", "y_rows", "grad = xp.empty(rows.shape, dtype=g.dtype)"),
                **as_well("g", "grad rows y y_rows", SOFTMAX), **as_well("rows", "grad y_rows", SOFTMAX)},
}}


def no_rows_give_zeros(op, seed):
    """A loss over no rows, which the samples leave out because it warns."""
    if op.name == "linear_cross_entropy":
        r = Draw(seed)
        for x in (r.normal(0, 3), Tensor(r.normal(0, 3), requires_grad=True)):
            weight = Tensor(r.normal(5, 3), requires_grad=True)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "op 'linear_cross_entropy': all 0 targets are ignored")
                loss = op(x, weight, r.integers(5, 0))
            loss.backward()
            assert loss.item() == 0
            assert np.array_equal(weight.grad.numpy(), np.zeros((5, 3)))


CHEAP_FIRST = {"joint_derivative": CHECKS["joint_derivative"], **CHECKS}
# Besides the checks of the sweep, which take an op as it is.
OWN = {"plain": {"saves": saves_what_it_says},
       "fast": {"no_rows": no_rows_give_zeros, "small_parts": forms_agree_in_small_parts}}
FEW = {"stack", "scatter"}  # the rule is one index: fewer than eight ways to break it


def kernels_agree(op, expected):
    """The kernels on the CPU give the expected values and gradients, also with arrays that are not C-ordered."""
    for arguments, settings, values in expected:
        cotangent = Draw(1).normal(*values[0].shape)
        for order in "CF":
            *ordered, g = (np.array(a, order=order) for a in (*arguments, cotangent))
            call = Call(op, ordered, settings, backend="emulated", cotangent=g)
            assert call.waits == 0
            assert_close(call.values(), values, 1e-12)


@functools.cache
def by_plain_form(name):
    """Arguments, settings and values of an op's samples, small ones first; its kernels are compiled."""
    with using_ops("plain"):
        expected = [(*sample, Call(OPS[name], *sample).values()) for sample in samples(OPS[name])]
    expected.sort(key=lambda sample: sum(map(np.size, sample[0])))
    kernels_agree(OPS[name], expected)
    return expected


def caught(mutant, form):
    """The check that fails; None if all pass."""
    if form == "cuda":
        expected = by_plain_form(mutant.name)
        return None if returns_in_a_child(lambda: kernels_agree(mutant, expected)) else "kernels_agree"
    with using_ops(form):
        for seed in range(3):
            for name, check in {**CHEAP_FIRST, **OWN[form]}.items():
                try:
                    check(mutant, seed)
                except Exception:
                    return name
    return None


@pytest.fixture(scope="module")
def counts():
    """Mutants that were caught, by form; printed at the end (pytest -s)."""
    totals = Counter()
    yield totals
    print(f"\n{totals.total():,} mutants caught:", ", ".join(f"{n:,} of {form} forms" for form, n in totals.items()))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_mutant_is_caught(name, form, counts):
    changes = [(change, caught(mutant, form)) for change, mutant in mutants(OPS[name], form)]
    survivors = [change for change, check in changes if check is None]
    excused = EQUIVALENT[form].get(name, {}).keys()
    n_caught = len(changes) - len(survivors)
    print(f"{name} {form}: {n_caught} caught, {len(survivors)} survive")
    assert set(survivors) - excused == set(), "not caught by the sweep"
    assert excused - set(survivors) == set(), "excused, but caught, or no such mutant: strike it from EQUIVALENT"
    assert n_caught >= (6 if name in FEW else 8)
    counts[form] += n_caught


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_copy_without_a_change_passes(name, form):
    """Else every mutant would be caught, whatever its change."""
    unchanged = list(copies(OPS[name], form))
    assert unchanged
    assert [caught(copy, form) for copy in unchanged] == [None] * len(unchanged)


@pytest.mark.parametrize("form", EQUIVALENT)
def test_only_forms_that_exist_are_excused(form):
    assert all(getattr(OPS[name], form) for name in EQUIVALENT[form])
    assert set(OPS) >= FEW
