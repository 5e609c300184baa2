"""The examiner examined: every small change of a gradient rule must make the sweep fail."""

import pytest
from checks import CHECKS, saves_what_it_says
from mutants import mutants

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS

ONE_PULLBACK = "only one argument has a gradient: there is nothing to exchange"
SAME_DTYPE = "g has the dtype of the arguments and of the result"
SAME_BACKEND = "all arrays of a call are on one backend"
WIDE = "only halves are summed in another dtype than their own"
FOUR_AXES = "of four axes, the third is number 2 and number -2"
LINE = "bmm, scale = (backend_of(g).bmm, 1 / math.sqrt(q.shape[-1] or 1))"
ZEROS = "qkv_grads = [xp.zeros_like(a) for a in (q, k, v)]"
EXPONENTIALS = "tiles[i] if tiles else _exponentials(xp, q[rows], k[columns], allowed, causal, largest[rows])[0]"
ATTENTION = {
    **{f"g -> {other}: g in {LINE}": SAME_BACKEND for other in ("k", "largest", "q", "sums", "v")},
    **{f"q -> {other}: q in {LINE}": "g, q, k and v have one head size" for other in ("g", "k", "v")},
    **{f"sign: -2 in {line}": FOUR_AXES for line in (
        "grad_v[columns] += bmm(used.swapaxes(-1, -2), g[rows])", "d = bmm(g[rows], v[columns].swapaxes(-1, -2))",
        "grad_k[columns] += bmm(d.swapaxes(-1, -2), q[rows] * scale)")},
    **{f"constant {change}: 1 in {LINE}": "heads of no size have no gradient" for change in ("+ 1", "- 1")},
    **{f"q -> {other}: q in places = _tiles(q, k, causal)": "of a tile only the shape counts"
       for other in ("g", "grad_q", "largest", "sums")},
    **{f"k -> {other}: k in places = _tiles(q, k, causal)": "of a tile only the shape counts"
       for other in ("grad_k", "grad_v", "v")},
    f"never: {EXPONENTIALS} in e = {EXPONENTIALS}": "what was kept is made again: slower",
    "e -> used: e in used = e * kept * (1 / (1 - p))": "they are the same until then",
}
GELU = {f"h -> y: h in {line}": "h is made in the memory of y" for line in (
    "xp.multiply(h, 6 * CUBIC * SQRT_2_OVER_PI, out=slope)", "xp.tanh(h, out=h)", "slope *= 1 - h", "slope *= h")}
SLICE = "backend_of(g).index_add(selected, index, g.astype(selected.dtype))"
SMOOTHING = ("q_sum = q_sum + share * counts * c_sum",
             "grad -= (share * counts * scale)[:, None] * (1.0 if class_weight is None else class_weight)")
POW = "1.0 in return g * exponent * base ** xp.where(exponent == 0, 1.0, exponent - 1)"

# Changes after which the rule is the same mathematics; each with the reason.
EQUIVALENT = {
    "add": {"pullbacks exchanged": "both gradients are g"},
    "pow": {f"constant {change}: {POW}": "this power is multiplied by 0" for change in ("+ 1", "- 1")},
    "dropout": {"pullbacks exchanged": ONE_PULLBACK},
    "cross_entropy": {"pullbacks exchanged": ONE_PULLBACK,
                      **{f"label_smoothing -> {other}: label_smoothing in if label_smoothing:\n    {line}":
                         "a test that only saves work: else 0 is added" for other in ("shape", "share")
                         for line in SMOOTHING}},
    "gelu": GELU,
    "bias_gelu": GELU,
    "embedding": {"pullbacks exchanged": ONE_PULLBACK},
    "slice": {**{f"g -> selected: g in {line}": SAME_BACKEND if "index_add" in line else WIDE
                 for line in (SLICE, "return selected.astype(g.dtype)")},
              f"selected -> g: selected in {SLICE}": WIDE, f"call dropped: g.astype(selected.dtype) in {SLICE}": WIDE,
              "call dropped: selected.astype(g.dtype) in return selected.astype(g.dtype)": WIDE,
              "dropped: if is_basic:\n    selected = xp.zeros(shape, dtype=g.dtype)\n    selected[index] = g\n"
              "    return selected": "a part that is taken once is added to zeros: the same numbers, slower"},
    "matmul": {"constant - 1: 0 in return grad[..., 0] if b_vector else grad": "of an axis of size 1, 0 is −1"},
    "concat": {"constant: True in return [g[*before, slice(end - size, end)] for end, size in "
               "zip(ends, sizes, strict=True)]": "the lists have the same length"},
    "max": {f"g -> {other}: g in largest = (x == y.reshape(kept)).astype(g.dtype)": SAME_DTYPE for other in "xy"},
    "attention": {**ATTENTION,
                  **{f"element {change}: [xp.zeros_like(a) for a in (q, k, v)] in {ZEROS}": "it is zeros"
                     for change in ("-({})", "2 * ({})", "0 * ({})", "({}) ** 2")},
                  **{f"{name} -> {other}: {name} in {ZEROS}": "they have one shape"
                     for name, other in (("q", "g"), ("k", "v"), ("v", "k"))}},
    "self_attention": {**ATTENTION, "pullbacks exchanged": ONE_PULLBACK,
                       f"g -> grads: g in {LINE}": SAME_BACKEND,
                       f"q -> grads: q in {LINE}": "g, q, k and v have one head size",
                       **{f"{name} -> {other}: {name} in places = _tiles(q, k, causal)": "as many queries as keys"
                          for name, others in (("q", ("grad_k", "grad_v", "k", "v")),
                                               ("k", ("g", "grad_q", "largest", "q", "sums"))) for other in others},
                       **{f"qkv -> {other}: qkv in qkv_grad = xp.zeros(qkv.shape, dtype=qkv.dtype)": SAME_DTYPE
                          for other in ("g", "largest", "sums")}},
}
CHEAP_FIRST = {"joint_derivative": CHECKS["joint_derivative"], **CHECKS, "saves": saves_what_it_says}
FEW = {"stack"}  # the rule is one index: fewer than eight ways to break it


def caught(mutant):
    """The check that fails; None if all pass."""
    for seed in range(3):
        for name, check in CHEAP_FIRST.items():
            try:
                check(mutant, seed)
            except Exception:
                return name
    return None


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_mutant_is_caught(name):
    survivors, total = set(), 0
    for change, mutant in mutants(OPS[name]):
        total += 1
        if caught(mutant) is None:
            survivors.add(change)
    excused = EQUIVALENT.get(name, {}).keys()
    print(f"{name}: {total - len(survivors)} of {total - len(excused)} mutants caught, {len(excused)} equivalent")
    assert survivors - excused == set(), "not caught by the sweep"
    assert excused - survivors == set(), "excused, but caught, or no such mutant: strike it from EQUIVALENT"
    assert total - len(excused) >= (6 if name in FEW else 8)


def test_only_registered_ops_are_excused():
    assert set(EQUIVALENT) <= set(OPS)
    assert set(OPS) >= FEW
