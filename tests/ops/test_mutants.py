"""Every small change of a gradient rule, in the plain and in the fast form of an op, must make the sweep fail.

CUDA forms are left out: a changed launch can write outside its arrays and end the process. Their values are held
against the plain forms in test_kernels.py.
"""

import pytest
from checks import CHECKS, forms_agree_in_small_parts, saves_what_it_says
from mutants import mutants

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS, using_ops

FORMS = [(name, form) for name in sorted(OPS) for form in ("plain", "fast") if getattr(OPS[name], form)]
ONE_PULLBACK = {"pullbacks exchanged": "only one argument has a gradient: there is nothing to exchange"}
SAME_DTYPE = "g has the dtype of the arguments and of the result"
SAME_BACKEND = "all arrays of a call are on one backend"
FOUR_AXES = "of four axes, the third is number 2 and number -2"
TWO_AXES = "of two axes, the last is number 1 and number -1"
COVERED = "slices of any size cover the rows"
LINE = "bmm, scale = (backend_of(g).bmm, 1 / math.sqrt(q.shape[-1] or 1))"
TILES = "for i, (at_q, at_k) in enumerate(_tiles(q, k, mask.causal)):"
ZEROS = "qkv_grads = [xp.zeros_like(a) for a in (q, k, v)]"
EXPONENTIALS = ("saved.exps[i] if saved.exps else _exponentials(xp, q[at_q], k[at_k], _part(mask.padding, at_q, at_k), "
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
GELU = {f"h -> y: h in {line}": "h is made in the memory of y" for line in (
    "xp.multiply(h, 6 * CUBIC * SQRT_2_OVER_PI, out=slope)", "xp.tanh(h, out=h)", "slope *= 1 - h", "slope *= h")}
SMOOTHING = ("q_sum = q_sum + share * counts * c_sum",
             "grad -= (share * counts * scale)[:, None] * (1.0 if class_weight is None else class_weight)")
POW = "1.0 in smaller = xp.where(xp.equal(exponent, 0), 1.0, exponent - 1)"

# Changes after which the rule is the same mathematics; each with the reason.
EQUIVALENT = {"plain": {
    "add": {"pullbacks exchanged": "both gradients are g"},
    "pow": {f"constant {change}: {POW}": "this power is multiplied by 0" for change in ("+ 1", "- 1")},
    **{name: ONE_PULLBACK for name in ("cross_entropy", "dropout", "embedding", "self_attention")},
    "concat": {"constant: True in return [g[*before, slice(end - size, end)] for end, size in "
               "zip(ends, sizes, strict=True)]": "the lists have the same length"},
    "max": {f"g -> {other}: g in largest = xp.equal(x, y.reshape(kept)).astype(g.dtype)": SAME_DTYPE for other in "xy"},
    "attention": {f"sign: -2 in {line}": FOUR_AXES for line in (
        "v_grad = U.swapaxes(-1, -2) @ g", "U_grad = g @ v.swapaxes(-1, -2)",
        "k_grad = scale * (S_grad.swapaxes(-1, -2) @ q)")},
}, "fast": {
    "cross_entropy": {**ONE_PULLBACK,
                      **{f"label_smoothing -> {other}: label_smoothing in if label_smoothing:\n    {line}":
                         "a test that only saves work: else 0 is added" for other in ("shape", "share")
                         for line in SMOOTHING}},
    "gelu": GELU,
    "bias_gelu": GELU,
    "embedding": ONE_PULLBACK,
    "matmul": {"constant - 1: 0 in return grad[..., 0] if b_vector else grad": "of an axis of size 1, 0 is −1"},
    "linear_cross_entropy": {
        "p -> s: p in picked = (xp.arange(len(p)), targets[rows])": "they have as many rows",
        "return ({})[::-1]: return losses": "they are only summed",
        "return abs({}): return losses": "no loss is negative",
        **{f"sign: -1 in {line}": TWO_AXES for line in ("p -= p.max(axis=-1, keepdims=True)", "sums = p.sum(axis=-1)")},
        **{f"z -> {other}: z in for rows in cached_slices(z, TILE):": COVERED
           for other in ("losses", "share", "targets")},
        **{f"z -> {other}: z in losses = xp.empty(len(z), dtype=z.dtype)": "as many rows, of one dtype"
           for other in ("share", "targets")}},
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
}}
CHEAP_FIRST = {"joint_derivative": CHECKS["joint_derivative"], **CHECKS}
# Besides the checks of the sweep, which take an op as it is.
OWN = {"plain": {"saves": saves_what_it_says}, "fast": {"small_parts": forms_agree_in_small_parts}}
FEW = {"stack", "scatter"}  # the rule is one index: fewer than eight ways to break it


def caught(mutant, form):
    """The check that fails; None if all pass."""
    with using_ops(form):
        for seed in range(3):
            for name, check in {**CHEAP_FIRST, **OWN[form]}.items():
                try:
                    check(mutant, seed)
                except Exception:
                    return name
    return None


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_mutant_is_caught(name, form):
    survivors, total = set(), 0
    for change, mutant in mutants(OPS[name], form):
        total += 1
        if caught(mutant, form) is None:
            survivors.add(change)
    excused = EQUIVALENT[form].get(name, {}).keys()
    print(f"{name} {form}: {total - len(survivors)} of {total - len(excused)} caught, {len(excused)} equivalent")
    assert survivors - excused == set(), "not caught by the sweep"
    assert excused - survivors == set(), "excused, but caught, or no such mutant: strike it from EQUIVALENT"
    assert total - len(excused) >= (6 if name in FEW else 8)


@pytest.mark.parametrize("form", EQUIVALENT)
def test_only_registered_ops_are_excused(form):
    assert set(EQUIVALENT[form]) <= {name for name, of in FORMS if of == form}
    assert set(OPS) >= FEW
