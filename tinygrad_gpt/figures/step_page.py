"""One training step as one HTML page: every value, every gradient, and what flows between them.

The page is one file that loads nothing. Numbers are kept as the upper 16 bits of float32 (bfloat16), which keeps its
range: gradients of 1e-30 stay what they are. An array that would take too much room is shown by the largest number of
each block of it, and the page says so.
"""

import base64
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from tinygrad_gpt.backend import to_host
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.figures.mathml import mathml
from tinygrad_gpt.ops.attention import attention, split_heads
from tinygrad_gpt.study.derivatives import derivative
from tinygrad_gpt.study.explain import Explanation
from tinygrad_gpt.study.show import numbered_source, place
from tinygrad_gpt.study.trace import Step, Trace

__all__ = ["LIMIT", "Page", "Reading", "attention_maps", "packed", "step_page"]

LIMIT = 10_000_000  # bytes of a page
BYTES = 8 / 3  # of a number: two, in base64
BINS = 31  # of a histogram
WORDS = 5  # tokens named by a gradient


@dataclass(frozen=True)
class Reading:
    """What the model read and what it answered, for the page.

    Args:
        title: of the page.
        tokens, targets: as in `recipes.text_step.TextStep`.
        answers: for each position (or the one of a classifier) the likeliest tokens or labels and their probabilities.
        table: (V, C) the token embeddings, with which gradients are read as words; None leaves that out.
        decode: the text of a token's id.
        explanation: of one entry of a gradient in this step; the page opens there.
    """

    title: str
    tokens: tuple[str, ...]
    targets: tuple[str, ...]
    answers: tuple[tuple[tuple[str, float], ...], ...] = ()
    table: np.ndarray | None = None
    decode: Callable[[int], str] = str
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Page:
    """An HTML page.

    Args:
        text: the whole file.
        sampled: how many arrays of it are shown by the largest number of each block.
    """

    text: str
    sampled: int


def step_page(trace: Trace, reading: Reading, limit: int = LIMIT) -> Page:
    """The page of a recorded step.

    Args:
        trace: recorded with the plain forms, so that the source lines are those that ran.
        limit: of its size, in bytes; arrays are sampled until it is met.
    """
    template = files("tinygrad_gpt.figures").joinpath("step_page.html").read_text(encoding="utf-8")
    cells = _cells(trace, limit)
    while True:
        data = _data(trace, reading, cells)
        text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        page = template.replace("/*DATA*/null", text.replace("<", "\\u003c"))
        if len(page) <= limit or cells < 64:
            arrays = [array for step in data["steps"] for array in (step["value"], step["grad"]) if array]
            return Page(page, sum(array["block"] != (1, 1) for array in arrays))
        cells //= 2


def _cells(trace: Trace, limit: int) -> int:
    """How many numbers of each array can be shown in two thirds of the page."""
    sizes = [a.size for step in trace.steps for a in (step.value, step.grad, *step.parts.values()) if a is not None]
    cells = max(sizes)
    while cells > 64 and BYTES * sum(min(size, cells) for size in sizes) > limit * 2 / 3:
        cells = cells * 3 // 4
    return cells


def _data(trace: Trace, reading: Reading, cells: int) -> dict[str, Any]:
    ops = {step.label: step.op for step in trace.ops}
    users: dict[int, int] = {}
    for step in trace.ops:
        for i in step.parts:
            source = step.inputs[i]
            assert source is not None
            users[source.number] = users.get(source.number, 0) + 1
    return {
        "title": reading.title, "tokens": reading.tokens, "targets": reading.targets, "answers": reading.answers,
        "loss": _number(float(to_host(trace.result.value))),
        "ops": {name: _op(op) for name, op in ops.items()},
        "explanation": None if reading.explanation is None else _explained(reading.explanation),
        "steps": [_step(step, users, reading, cells) for step in trace.steps],
    }


def _explained(found: Explanation) -> dict[str, Any]:
    ops = [{"number": op.number, "amount": op.amount,
            "terms": [{**asdict(term), "product": term.product} for term in op.terms]} for op in found.ops]
    return {"parameter": found.parameter, "index": found.index, "number": found.number, "analytic": found.analytic,
            "numeric": found.numeric, "torch": found.torch, "flows": [asdict(flow) for flow in found.flows],
            "ops": ops}


def _op(op) -> dict[str, str]:
    found = derivative(op)
    return {"about": found.summary.replace("`", ""), "forward": mathml(found.forward),
            "gradient": mathml(found.gradient), "place": place(op.function), "from": found.source,
            "source": numbered_source(op.function, below_docstring=True)}


def _step(step: Step, users, reading: Reading, cells: int) -> dict[str, Any]:
    shown = {"label": step.label, "op": bool(step.op), "module": step.module, "line": step.line,
             "value": packed(step.value, cells), "grad": None if step.grad is None else packed(step.grad, cells),
             "inputs": [[step.argument(i), source.number, *_edge(step, i, source, users, cells)]
                        for i, source in enumerate(step.inputs) if source is not None]}
    if step.label in ("attention", "self_attention") and step.grad is not None:
        shown["heads"] = [packed(maps, cells) for maps in attention_maps(step)]
    if reading.table is not None and _is_stream(step, reading):
        shown["words"] = _as_words(to_host(step.grad)[0], reading)
    return shown


def _edge(step: Step, i: int, source: Step, users, cells: int) -> list[Any]:
    """What flows back along an edge: its length, and its picture where it is not all that its source gets."""
    part = step.parts.get(i)
    if part is None:
        return [None, None]
    size = float(np.sqrt((to_host(part).astype(np.float64) ** 2).sum()))
    return [_number(size), packed(part, cells) if users[source.number] > 1 else None]


def _is_stream(step: Step, reading: Reading) -> bool:
    """Whether a step is on the residual stream: (1, T, C), as wide as the token embeddings."""
    assert reading.table is not None
    return step.op is not None and step.grad is not None and step.value.shape == (
        1, len(reading.tokens), reading.table.shape[1])


def _as_words(grad: np.ndarray, reading: Reading) -> list[list[list[Any]]]:
    """For each position the tokens that a step against the gradient (T, C) goes towards, and away from.

    Source: Katz et al. 2024, "Backward lens", arXiv:2402.12865: −ȳ · wteᵀ.
    """
    assert reading.table is not None
    towards = -(grad @ reading.table.T.astype(grad.dtype))  # (T, V)
    return [[[reading.decode(int(i)) for i in _largest(row)], [reading.decode(int(i)) for i in _largest(-row)]]
            for row in towards]


def _largest(row: np.ndarray) -> np.ndarray:
    """Where the largest few numbers of a row are, the largest first."""
    few = np.argpartition(-row, WORDS)[:WORDS] if len(row) > WORDS else np.arange(len(row))
    return few[np.argsort(-row[few], kind="stable")]


def attention_maps(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """The weights of an attention and the gradient of the loss with respect to them, (B, H, n, m) each."""
    arguments: list[Any] = [None if a is None else to_host(a) for a in step.arguments]
    settings = dict(step.settings)
    g = to_host(step.grad)
    if step.label == "self_attention":
        n_head = settings.pop("n_head")
        (g,) = split_heads(g, n_head, 1)
        arguments = [*split_heads(arguments[0], n_head), *arguments[1:]]
    _, pullbacks = attention.function(np, *arguments, **settings)
    v, keep = arguments[2], arguments[4] if len(arguments) > 4 else None
    A_grad = g @ v.swapaxes(-1, -2)  # y = U v
    if keep is not None:
        A_grad = A_grad * keep * (1 / (1 - settings.get("p", 0.0)))  # U = A ⊙ keep / (1 − p)
    A = saved_arrays(pullbacks)["A"]
    return A, np.where(A > 0, A_grad, 0)


def packed(array, cells: int) -> dict[str, Any]:
    """An array for the page: shape, range and histogram of all of it, and as many numbers as there is room for.

    Args:
        cells: the most numbers; of an array with more, the largest of each block of rows and columns.
    """
    values = np.asarray(to_host(array), np.float32)
    flat = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    shown, block = _largest_of_blocks(flat, cells)
    finite = flat[np.isfinite(flat)].astype(np.float64)
    largest = float(np.abs(finite).max(initial=0.0))
    counts = np.histogram(finite, BINS, (-largest, largest))[0] if largest else [len(finite)]
    return {"shape": values.shape, "rows": shown.shape[0], "columns": shown.shape[1], "block": block,
            "bits": base64.b64encode(_upper_halves(shown)).decode(), "max": largest,
            "mean": float(finite.mean()) if finite.size else None, "odd": int(flat.size - finite.size),
            "rms": float(np.sqrt((finite ** 2).mean())) if finite.size else None,
            "counts": [int(count) for count in counts]}


def _largest_of_blocks(flat: np.ndarray, cells: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The number of the largest modulus of each block, and the size of the blocks."""
    rows, columns = flat.shape
    if flat.size <= cells:
        return flat, (1, 1)
    side = math.sqrt(cells)
    kept_rows = min(rows, max(int(side), cells // max(columns, 1)))
    kept_columns = max(1, min(columns, cells // kept_rows))
    block = -(-rows // kept_rows), -(-columns // kept_columns)
    grid = -(-rows // block[0]), -(-columns // block[1])
    whole = np.zeros((grid[0] * block[0], grid[1] * block[1]), flat.dtype)
    whole[:rows, :columns] = flat
    parts = whole.reshape(grid[0], block[0], grid[1], block[1]).swapaxes(1, 2).reshape(*grid, -1)
    at = np.where(np.isfinite(parts), np.abs(parts), np.inf).argmax(axis=-1)
    return np.take_along_axis(parts, at[..., None], axis=-1)[..., 0], block


def _upper_halves(values: np.ndarray) -> bytes:
    """Float32 numbers rounded to their upper 16 bits, little-endian."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    odd = ((bits >> 16) & 1) + np.uint32(0x7FFF)  # to the nearest, ties to even
    rounded = np.where(np.isfinite(values), bits + odd, bits | np.uint32(np.isnan(values)) * np.uint32(0x400000))
    return (rounded >> 16).astype("<u2").tobytes()


def _number(value: float) -> float | None:
    """JSON has no number for infinity and "not a number"."""
    return value if math.isfinite(value) else None

