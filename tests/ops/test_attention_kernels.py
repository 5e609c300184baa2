"""The CUDA kernels of attention, run on the CPU, against the NumPy form of the op."""

import cuda_on_cpu
import fake_cublas
import ml_dtypes
import numpy as np
import pytest
from checks import Call, assert_close, error
from soak import SOAK

from tinygrad_gpt.backend import use_backend
from tinygrad_gpt.backend.cards import CARDS, card_of
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.ops.attention import split_heads
from tinygrad_gpt.ops.cuda.attention import SOURCE, TILED, kernel_for
from tinygrad_gpt.study.gradcheck import Draw

pytestmark = pytest.mark.usefixtures("emulated")

# What a result may differ by, relative to 1 or the largest value: some units in the last place of the factors of the
# products, since weights and gradients of scores are rounded once more before they are multiplied.
KINDS = {
    "float64": (np.float64, "float32", 1e-13),
    "float32": (np.float32, "float32", 3e-6),
    "tf32": (np.float32, "tf32", 4 * 2**-11),
    "float16": (np.float16, "float32", 4 * 2**-11),
    "bfloat16": (ml_dtypes.bfloat16, "float32", 4 * 2**-8),
}
LENGTHS = (1, 15, 16, 17, 63, 64, 65, 130)


def compare(name, arguments, settings, kind, on="emulated"):
    """Result and gradients of the kernels, and those of NumPy in float64 for the same, rounded arguments."""
    dtype, policy, limit = KINDS[kind]
    arguments = [a if a is None or a.dtype == bool else a.astype(dtype) for a in arguments]
    exact = [a if a is None or a.dtype == bool else a.astype(np.float64) for a in arguments]
    use_backend("numpy")
    expected = Call(OPS[name], exact, settings, cotangent=None)
    cotangent = expected.cotangent.astype(dtype)
    expected = Call(OPS[name], exact, settings, cotangent=cotangent.astype(np.float64))
    use_backend("emulated")
    with precision(policy):
        ours = Call(OPS[name], arguments, settings, backend=on, cotangent=cotangent)
    assert ours.waits == 0
    assert all(value.dtype == dtype for value in ours.values())
    assert_close([value.astype(np.float64) for value in ours.values()], expected.values(), limit)
    return ours


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_texts_around_the_edges_of_tiles(kind, length):
    r = Draw(length)
    compare("self_attention", [r.normal(2, length, 3 * 2 * 5)], {"n_head": 2}, kind)


@pytest.mark.parametrize("size", [2, 16, 24, 64, 70, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_head_sizes(kind, size):
    r = Draw(size)
    compare("self_attention", [r.normal(1, 66, 3 * size)], {"n_head": 1}, kind)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 200), (2, 64), (3, 63), (3, 70), (64, 65), (65, 150), (17, 16)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_queries_at_the_end_of_more_keys(kind, causal, n, m):
    r = Draw(n + m)
    arguments = [r.normal(1, 2, n, 16), r.normal(1, 2, m, 16), r.normal(1, 2, m, 16)]
    compare("attention", arguments, {"causal": causal}, kind)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_dropout(kind, causal):
    r = Draw(7)
    padding = np.arange(100) >= np.array([[30], [100]])  # left of the first text, and all of the second
    compare("self_attention", [r.normal(2, 100, 3 * 2 * 8), padding, r.mask(2, 2, 100, 100)],
            {"n_head": 2, "causal": causal, "p": 0.25}, kind)


def runs(card, kind):
    return kind in ("float64", "float32", *card.tensor_cores, "float16")


# Of each card what differs from the newest: products of halves without tensor cores, or of 8 terms; smaller tiles, and
# none at all.
CHOSEN = [(70, "float16", 16), (75, "float16", 64), (75, "float32", 64), (75, "float32", 128), (86, "float32", 128),
          (120, "tf32", 128)]
EVERY = [(capability, kind, size) for capability, card in CARDS.items() for kind in KINDS if runs(card, kind)
         for size in (5, 16, 32, 64, 128)]


@pytest.mark.parametrize(("capability", "kind", "size"), EVERY if SOAK else CHOSEN)
def test_every_card_runs_forward_and_backward(capability, kind, size):
    r = Draw(size)
    with fake_cublas.card(capability):
        compare("self_attention", [r.normal(1, 66, 3 * size), None, r.mask(1, 1, 66, 66)], {"n_head": 1, "p": 0.25},
                kind)


@pytest.mark.parametrize("kernel", TILED)
@pytest.mark.parametrize("capability", CARDS)
def test_every_kernel_fits_its_card(capability, kernel):
    """Of the head sizes up to 128 some have none in float64, on a T4 from 65 on in float32; halves have all."""
    card, lacking = CARDS[capability], set()
    for kind, (dtype, policy, _) in KINDS.items():
        for size in (16, 32, 64, 128) if runs(card, kind) else ():
            found = kernel_for(kernel, np.dtype(dtype), size, policy == "tf32", card)
            if found is None:
                lacking.add((kind, size))
            else:
                assert found.shared <= card.shared_memory
                assert ("TensorCores" in found.name) == (kind in card.tensor_cores)
    if kernel != "attend":
        widest = {("float64", 128)}
        assert lacking == {70: widest, 75: {("float32", 128), ("float64", 64), *widest}, 86: widest, 89: widest,
                           120: widest}.get(capability, set())


def test_the_emulated_card_refuses_what_the_real_one_has_not():
    r = Draw(1)
    arguments = [r.normal(1, 3, 3 * 64)]
    with fake_cublas.card(75), pytest.raises(AssertionError, match=r"69632 bytes of shared memory on sm_75"):
        cuda_on_cpu.launch(SOURCE, "attend_grad_q<Plain, float, 64, 64>", (1,), (128,), (), 69632)
    for capability, kind, instruction in ((75, "bfloat16", "mma.m16n8k16 requires sm_80"),
                                          (70, "float16", r"mma.m16n8k8.f16 requires sm_75"),
                                          (75, "tf32", "requires sm_80")):
        generous = CARDS[capability]._replace(tensor_cores=CARDS[90].tensor_cores)
        with fake_cublas.card(capability), pytest.MonkeyPatch.context() as patched:
            patched.setitem(CARDS, capability, generous)
            card_of.cache_clear()
            with pytest.raises(AssertionError, match=instruction):
                compare("self_attention", arguments, {"n_head": 1}, kind)
        card_of.cache_clear()


def test_a_query_that_may_see_no_key_gives_zero_and_takes_part_in_no_gradient():
    r = Draw(3)
    padding = np.zeros((1, 70), bool)
    ours = compare("self_attention", [r.normal(1, 70, 12), padding], {"n_head": 2}, "float32")
    assert all((value == 0).all() for value in ours.values())


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_any_order_of_threads_gives_the_same_bits(kind, order):
    r = Draw(11)
    arguments = [r.normal(1, 130, 3 * 8), None, r.mask(1, 1, 130, 130)]
    with cuda_on_cpu.in_order(0):
        expected = compare("self_attention", arguments, {"n_head": 1, "p": 0.5}, kind).values()
    with cuda_on_cpu.in_order(order):
        ours = compare("self_attention", arguments, {"n_head": 1, "p": 0.5}, kind).values()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_reads_its_cache_in_place(kind, emulated, monkeypatch):
    """Queries out of (B, n, 3C), the first m slots of a longer cache, and a mask that all heads share."""
    r, (dtype, policy, limit) = Draw(5), KINDS[kind]
    qkv, cache = r.normal(2, 2, 3 * 3 * 8).astype(dtype), r.normal(2, 2, 3, 400, 8).astype(dtype)
    allowed = np.arange(300) <= np.array([[297, 298], [100, -1]])[:, None, :, None]  # (B, 1, n, m)

    def decoded(convert):
        q, _, _ = split_heads(convert(qkv), 3)
        keys, values = convert(cache)[:, :, :, :300]
        return OPS["attention"].on_arrays(q, keys, values, convert(allowed)[:, 0], causal=False)

    def refuse(array):
        pytest.fail("the cache is copied")

    with precision(policy), monkeypatch.context() as patched:
        for names in (vars(emulated.xp), vars(emulated.namespace)):
            patched.setitem(names, "ascontiguousarray", refuse)
        ours = decoded(emulated.from_numpy)
    expected = decoded(lambda a: a if a.dtype == bool else a.astype(np.float64))
    assert error(emulated.to_numpy(ours).astype(np.float64), expected) <= limit
    assert ours.transpose(0, 2, 1, 3).flags.c_contiguous, "heads side by side"


def test_large_heads_have_no_kernel_and_work():
    r, before = Draw(2), cuda_on_cpu.launches
    compare("self_attention", [r.normal(1, 3, 3 * 130)], {"n_head": 1}, "float64")
    compare("attention", [r.normal(1, 1, 3, 130) for _ in range(3)], {}, "float64")
    assert cuda_on_cpu.launches == before


def test_nothing_to_do():
    for n, m, size in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        arguments = [np.ones((1, 2, n, size)), np.ones((1, 2, m, size)), np.ones((1, 2, m, size))]
        ours = Call(OPS["attention"], arguments, {"causal": False}, backend="emulated").values()
        assert [value.shape for value in ours] == [(1, 2, n, size), *(a.shape for a in arguments)]
        assert all((value == 0).all() for value in ours)
