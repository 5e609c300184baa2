"""Attention by cuDNN, on a stand-in that computes what NVIDIA documents, beside our kernels' definition."""

import itertools

import fake_cudnn
import ml_dtypes
import numpy as np
import pytest
from checks import Call, assert_close

from tinygrad_gpt.backend import get_backend, on_backend
from tinygrad_gpt.backend.cudnn import attention
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.errors import BackendError
from tinygrad_gpt.ops.attention import split_heads
from tinygrad_gpt.ops.cuda import cudnn_attention
from tinygrad_gpt.ops.cuda.cudnn_attention import has_attention
from tinygrad_gpt.ops.fast.attention import Mask
from tinygrad_gpt.study.gradcheck import Draw

HALVES = {"float16": (np.float16, 4 * 2**-11), "bfloat16": (ml_dtypes.bfloat16, 4 * 2**-8)}


@pytest.fixture
def library():
    with fake_cudnn.in_force() as library:
        yield library


def compare(name, arguments, settings, kind):
    """Result and gradients beside those of NumPy in float64 for the same, rounded arguments."""
    dtype, limit = HALVES[kind]
    arguments = [a if a is None or a.dtype == bool else a.astype(dtype) for a in arguments]
    exact = [a if a is None or a.dtype == bool else a.astype(np.float64) for a in arguments]
    with on_backend("numpy"):
        expected = Call(OPS[name], exact, settings, cotangent=None)
        cotangent = expected.cotangent.astype(dtype)
        expected = Call(OPS[name], exact, settings, cotangent=cotangent.astype(np.float64))
    ours = Call(OPS[name], arguments, settings, backend="emulated", cotangent=cotangent)
    assert ours.waits == 0
    assert all(value.dtype == dtype for value in ours.values())
    assert_close([value.astype(np.float64) for value in ours.values()], expected.values(), limit)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", HALVES)
def test_values_and_gradients_are_those_of_the_op(library, kind, causal):
    r = Draw(3)
    compare("self_attention", [r.normal(2, 17, 3 * 2 * 16)], {"n_head": 2, "causal": causal}, kind)
    compare("attention", [r.normal(2, 3, 9, 32) for _ in "qkv"], {"causal": causal}, kind)
    assert (library.builds, library.runs) == (4, 4)


@pytest.mark.parametrize("kind", HALVES)
def test_dropout_takes_the_mask_of_the_op(library, kind):
    r = Draw(4)
    compare("self_attention", [r.normal(2, 17, 3 * 2 * 16), None, r.mask(2, 2, 17, 17)], {"n_head": 2, "p": 0.25}, kind)
    assert library.runs == 2


def test_arrays_that_the_library_cannot_read_are_copied(library):
    r = Draw(5)
    wide = r.normal(2, 2, 9, 3 * 17).astype(np.float16)
    ours = get_backend("emulated")
    q, k, v = (ours.from_numpy(wide)[..., 17 * i:17 * i + 16] for i in range(3))  # rows 51 numbers apart
    y = OPS["attention"].on_arrays(q, k, v)
    with on_backend("numpy"):
        expected = OPS["attention"].on_arrays(*(wide[..., 17 * i:17 * i + 16].astype(np.float64) for i in range(3)))
    np.testing.assert_allclose(ours.to_numpy(y).astype(np.float64), expected, atol=4e-3)
    assert library.runs == 1


@pytest.mark.parametrize(("what", "changes"), [
    ("this", {}), ("decoding", {"q": (1, 2, 1, 16)}), ("a head size", {"size": 20}), ("one query", {"n": 1}),
    ("a large head", {"size": 144}), ("no text", {"batch": 0}), ("float32", {"dtype": np.float32}),
    ("padding", {"padding": np.ones((1, 2, 9, 9), bool)})])
def test_the_rest_is_left_to_our_kernels(library, what, changes):
    shape = changes.get("batch", 1), 2, changes.get("n", 9), changes.get("size", 16)
    q, k = (np.zeros(size, changes.get("dtype", np.float16)) for size in (changes.get("q", shape), shape))
    mask = Mask(changes.get("padding"), True, None, 0.0)
    assert has_attention(q, k, mask) == (what == "this")
    with attention("own"):
        assert not has_attention(q, k, mask)


def test_layers_of_one_shape_share_two_graphs_and_a_workspace(library):
    x = Draw(8).normal(2, 17, 3 * 32).astype(np.float16)
    layers = [Call(OPS["self_attention"], [x], {"n_head": 2}, backend="emulated") for _ in range(3)]
    assert (library.builds, library.runs) == (2, 6)
    assert len({b"".join(value.tobytes() for value in layer.values()) for layer in layers}) == 1
    assert len(cudnn_attention._GRAPHS.workspaces) == len(cudnn_attention._GRAPHS.handles) == 1
    Call(OPS["self_attention"], [x[:, :10]], {"n_head": 2}, backend="emulated")  # another length
    Call(OPS["self_attention"], [x], {"n_head": 2, "causal": False}, backend="emulated")
    assert (library.builds, library.runs) == (6, 10)


def test_a_workspace_grows_with_the_graphs(library):
    r = Draw(8)
    for n in (4, 40, 4):
        compare("self_attention", [r.normal(1, n, 3 * 16)], {"n_head": 1}, "float16")
    workspace, = cudnn_attention._GRAPHS.workspaces.values()
    assert workspace.nbytes == 64 * 40


def test_a_graph_that_the_library_declines_is_one_line(library):
    library.refuses = "Deterministic algorithm is not supported\n on blackwell architecture when dbias is enabled " * 2
    r = Draw(9)
    qkv, keep = r.normal(1, 9, 3 * 16).astype(np.float16), r.mask(1, 1, 9, 9)
    with pytest.raises(BackendError) as refused:
        OPS["self_attention"].on_arrays(*map(get_backend("emulated").from_numpy, (qkv,)), None,
                                        get_backend("emulated").from_numpy(keep), n_head=1, p=0.5)
    assert str(refused.value).startswith(
        "attention 'cudnn' (float16 (1, 1, 9, 16) with dropout): cuDNN does not compute it: Deterministic algorithm is")
    assert str(refused.value).endswith("; use --attention own")
    assert len(f"error: {refused.value}") <= 240


# -- where the package is installed; it needs no GPU to check a graph


def graphs(cudnn, new, deterministic=True):
    """Forward and backward, with and without mask and dropout, in the layout that a model has."""
    one = np.zeros((1, 1, 1, 1), np.float32)
    for causal, n in itertools.product((True, False), (128, 101)):
        q, k, v = split_heads(np.zeros((2, n, 3 * 4 * 64), np.float16), 4)
        y, = split_heads(np.zeros((2, n, 4 * 64), np.float16), 4, 1)
        log_sums = np.zeros((2, 4, n), np.float32)[..., None]
        for dropout in ({}, {"keep": np.zeros((2, 4, n, n), np.float16), "raised": one}):
            forward = {"q": q, "k": k, "v": v}
            backward = {**forward, "y": y, "g": y, "log_sums": log_sums}
            lowered = {"lowered": one} if dropout else {}
            for inputs, outputs in ((forward | dropout, {"y": y, "log_sums": log_sums}),
                                    (backward | dropout | lowered, {"q_grad": q, "k_grad": k, "v_grad": v})):
                graph = new(io_data_type=cudnn.data_type.HALF, intermediate_data_type=cudnn.data_type.FLOAT,
                            compute_data_type=cudnn.data_type.FLOAT)
                cudnn_attention.describe(cudnn, graph, inputs, outputs, causal, deterministic)
                yield bool(dropout), graph


def test_the_package_takes_the_graphs():
    cudnn = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed", exc_type=ImportError)
    made = [graph for _, graph in graphs(cudnn, cudnn.pygraph)]
    assert len(made) == 16
    for graph in made:
        graph.validate()


@pytest.mark.parametrize("card", [80, 86, 89, 90, 100, 120])
def test_the_library_takes_the_graphs_for_every_card(card):
    cudnn = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed", exc_type=ImportError)
    try:
        cudnn.backend_version()
    except RuntimeError:
        pytest.skip("cuDNN itself is not installed")

    def new(**types):
        return cudnn._pybind_module.backend_graph(sm_version=card, **types)

    declined = []
    for deterministic in (True, False):
        for dropout, graph in graphs(cudnn, new, deterministic):
            try:
                graph.validate()
            except cudnn.cudnnGraphNotSupportedError as error:
                declined.append((dropout, deterministic, str(error)))
    assert declined == [(True, True, "Deterministic algorithm is not supported on blackwell architecture when dbias, "
                         "rng/dropout, alibi is enabled")] * (4 if card == 100 else 0)  # backward passes
