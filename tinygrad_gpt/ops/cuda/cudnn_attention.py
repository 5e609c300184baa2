"""Attention of halves by cuDNN's graph API, with the signatures of `attend` and `attend_grads` of attention.py.

A graph describes the op for arrays of certain shapes and strides. It is built at the first call, which takes cuDNN a
second or so, and kept; a call then hands over addresses only. Both passes add in a fixed order.

Source: NVIDIA, cuDNN frontend 1.32, `pygraph.sdpa` and `pygraph.sdpa_backward`.
"""

import math
import threading
from typing import Any, NamedTuple

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.backend.cudnn import current_attention, load_cudnn
from tinygrad_gpt.backend.precision import is_half
from tinygrad_gpt.errors import BackendError
from tinygrad_gpt.ops.dropout import keep_mask
from tinygrad_gpt.ops.fast.attention import Mask

__all__ = ["Saved", "attend", "attend_grads", "has_attention"]

STEP = 8  # elements: cuDNN reads 16 bytes at once
# Numbers by which a graph knows its tensors. `raised` is 1 / (1 − p), `lowered` is 1 − p.
UIDS = {name: uid for uid, name in enumerate(
    ("q", "k", "v", "keep", "raised", "lowered", "y", "log_sums", "g", "q_grad", "k_grad", "v_grad"), start=1)}
TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}


class Saved(NamedTuple):
    """What the backward pass needs.

    Args:
        y: the result, (B, H, n, D).
        log_sums: log Σ e^S of each query, (B, H, n, 1), float32.
    """

    y: Array
    log_sums: Array


def has_attention(q: Array, k: Array, mask: Mask) -> bool:
    """Whether cuDNN is in force and can compute this: halves, as many queries as keys, and no padding.

    What it leaves to our kernels: decoding, where few queries meet many keys, and padded texts, of which a query may
    see no key.
    """
    n, size = q.shape[2:]
    return (current_attention() == "cudnn" and is_half(q.dtype) and mask.padding is None and q.size > 0
            and n == k.shape[2] > 1 and size % (2 * STEP) == 0 and size <= 128)


def attend(xp, q, k, v, mask: Mask, out: tuple[Array, Array] | None = None) -> tuple[Array, Saved]:
    """The result (B, H, n, D), heads side by side in memory, and what `attend_grads` needs; see there for ``out``."""
    batch, n_head, n, size = q.shape
    if out is None:
        out = xp.empty((batch, n, n_head, size), dtype=q.dtype), xp.empty((batch, n_head, n), dtype=np.float32)
    y, log_sums = out[0].transpose(0, 2, 1, 3), out[1][..., None]
    q, k, v = (_readable(xp, a) for a in (q, k, v))
    _GRAPHS.run({"q": q, "k": k, "v": v, **_dropout(xp, mask, q, ("raised",))},
                {"y": y, "log_sums": log_sums}, mask.causal)
    return y, Saved(y, log_sums)


def attend_grads(xp, qkv, g, mask: Mask, saved: Saved, grads) -> None:
    """Write the gradients of `attend`, given that of its result, to arrays with the strides of q, k and v."""
    q, k, v = (_readable(xp, a) for a in qkv)
    inputs = {"q": q, "k": k, "v": v, "y": saved.y, "g": _readable(xp, g), "log_sums": saved.log_sums}
    dropout = _dropout(xp, mask, q, ("raised", "lowered"))
    _GRAPHS.run(inputs | dropout, dict(zip(("q_grad", "k_grad", "v_grad"), grads, strict=True)), mask.causal)


def _readable(xp, a):
    """The array, or a copy where its rows do not begin at multiples of 16 bytes."""
    steps = [stride // a.itemsize for stride in a.strides]
    whole = steps[-1] == 1 and a.data.ptr % 16 == 0 and all(step and step % STEP == 0 for step in steps[:-1])
    return a if whole else xp.ascontiguousarray(a)


def _dropout(xp, mask, q, factors):
    """The arrays of dropout by their names: the mask as factors of 0 and 1, and numbers on the device."""
    keep = mask.keep if mask.seed is None else keep_mask(backend_of(q), mask.seed, (*q.shape[:3], q.shape[2]), mask.p,
                                                                     mask.start)
    if keep is None:
        return {}
    values = {"raised": 1 / (1 - mask.p), "lowered": 1 - mask.p}
    return {"keep": xp.ascontiguousarray(keep.astype(q.dtype)),
            **{name: xp.full((1, 1, 1, 1), values[name], dtype=np.float32) for name in factors}}


class Graphs(threading.local):
    """The handle of cuDNN, the graphs that were built, and the memory in which they work: of one thread."""

    def __init__(self):
        self.handles: dict[int, Any] = {}  # by device
        self.built: dict[tuple, tuple[Any, int]] = {}  # by what they depend on: the graph, and bytes of its workspace
        self.workspaces: dict[int, Array] = {}  # by device; calls on one stream use one after the other

    def run(self, inputs: dict[str, Array], outputs: dict[str, Array], causal: bool) -> None:
        """Compute the outputs of these inputs, forward or backward by their names."""
        arrays, backend = inputs | outputs, backend_of(inputs["q"])
        cudnn, cuda, deterministic = load_cudnn(), backend.xp.cuda, backend.deterministic
        device = cuda.runtime.getDevice()
        if device not in self.handles:
            self.handles[device] = cudnn.create_handle()
        handle = self.handles[device]
        cudnn.set_stream(handle, cuda.get_current_stream().ptr)
        key = device, causal, deterministic, *((name, a.shape, a.strides, a.dtype) for name, a in arrays.items())
        if key not in self.built:
            graph = cudnn.pygraph(handle=handle, **_types(cudnn, inputs["q"]))
            self.built[key] = _built(cudnn, graph, inputs, outputs, causal, deterministic)
        graph, needed = self.built[key]
        if device not in self.workspaces or self.workspaces[device].nbytes < needed:
            self.workspaces[device] = backend.xp.empty(max(needed, 1), dtype=np.uint8)
        graph.execute({UIDS[name]: a.data.ptr for name, a in arrays.items()}, self.workspaces[device].data.ptr,
                      handle=handle)


_GRAPHS = Graphs()


def _types(cudnn, q):
    kind = cudnn.data_type
    return {"io_data_type": kind[TYPES[q.dtype.name]], "intermediate_data_type": kind.FLOAT,
            "compute_data_type": kind.FLOAT}


def _built(cudnn, graph, inputs, outputs, causal, deterministic):
    """The graph, ready to be executed, and the bytes of its workspace."""
    describe(cudnn, graph, inputs, outputs, causal, deterministic)
    try:
        graph.build([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        return graph, graph.get_workspace_size()
    except Exception as error:  # the library's own classes differ between its releases
        q, said = inputs["q"], " ".join(str(error).split())[:100]
        what = f"{q.dtype} {q.shape}{' with dropout' * ('keep' in inputs)}"
        raise BackendError(f"attention 'cudnn' ({what}): cuDNN does not compute it: {said}; use --attention own"
                           ) from error


def describe(cudnn, graph, inputs, outputs, causal, deterministic):
    """Put the op, with the shapes, strides and types of its arrays, into an empty graph.

    Args:
        cudnn: the package.
        graph: an empty `pygraph`.
        inputs, outputs: arrays by their names in `UIDS`; with "g" among them it is the backward pass.
        causal: a query sees its own key and those before.
        deterministic: the backward pass adds in a fixed order.
    """
    def layout(a):
        steps = [stride // a.itemsize or 1 for stride in a.strides]  # NumPy's of an axis of 1 may be 0
        return {"dim": [*a.shape], "stride": steps,
                "data_type": cudnn.data_type[TYPES[a.dtype.name]]}

    given = {name: graph.tensor(name=name, uid=UIDS[name], **layout(a)) for name, a in inputs.items()}
    settings: dict[str, Any] = {"attn_scale": 1 / math.sqrt(inputs["q"].shape[-1])}
    if causal:
        settings["diagonal_band_right_bound"] = 0  # from the diagonal at the top left
    if "keep" in given:
        settings["dropout"] = tuple(given[name] for name in ("keep", "raised", "lowered") if name in given)
    qkv = [given[name] for name in "qkv"]
    if "g" in given:
        made = graph.sdpa_backward(*qkv, given["y"], given["g"], given["log_sums"],
                                   use_deterministic_algorithm=deterministic, **settings)
    else:
        made = graph.sdpa(*qkv, generate_stats=True, **settings)
    for (name, a), tensor in zip(outputs.items(), made, strict=True):
        at = layout(a)
        tensor.set_output(True).set_uid(UIDS[name]).set_dim(at["dim"]).set_stride(at["stride"])
        tensor.set_data_type(at["data_type"])
