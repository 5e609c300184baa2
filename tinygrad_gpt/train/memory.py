"""How much memory a training run takes, known before it starts, and measured while it runs."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.errors import ResourceError
from tinygrad_gpt.models.gpt2 import GPT2Config
from tinygrad_gpt.ops.attention import QUERIES
from tinygrad_gpt.ops.linear_cross_entropy import LOGITS, PRODUCT

__all__ = ["check_memory", "memory_estimate", "peak_memory"]

FLOAT = 4  # bytes of a float32


def memory_estimate(config: GPT2Config, batch_size: int, length: int, *, blocks: int | None = None,
                    trained: int | None = None, predicted: int | None = None, recompute: bool = False,
                    accumulate: bool = False, saves_state: bool = True, whole_logits: bool = False) -> int:
    """Bytes that training in float32 takes at its peak on the host, beyond the interpreter and its libraries.

    They are the weights, AdamW's two moments, and what the hungriest moment needs besides: the loss over the
    vocabulary, the backward pass of the last block, the last gradients, or a checkpoint, which is built in memory.
    Within 15 % of what the operating system counts (tests/train/test_memory.py).

    Args:
        config: of the model.
        batch_size, length: of the largest batch that is computed at once, in rows and tokens.
        blocks: how many of the last blocks keep what their gradients need; None: all, and the embeddings are trained.
        trained: numbers that are trained; None: all of those blocks and the last norm, or of the model.
        predicted: positions of a batch at which the loss scores the whole vocabulary; None: all.
        recompute: is each block run again in backward?
        accumulate: are there several such batches in a step?
        saves_state: do checkpoints hold the moments, so that the run can be resumed?
        whole_logits: does the loss use more of the logits than `linear_cross_entropy` does, as that of pairs?
    """
    c, v, rows = config.n_embd, config.vocab_size, batch_size * length
    block = 12 * c * c + (13 if config.qkv_bias else 10) * c
    weights = (v + config.n_ctx) * c + config.n_layer * block + 2 * c + (0 if config.tied_head else v * c)
    head = v * c if blocks is None else 0  # gradient of its weight
    if trained is None:
        trained = weights if blocks is None else blocks * block + 2 * c
    saving = blocks if blocks is not None else config.n_layer
    saved, working = _block_floats(config, batch_size, length)
    kept = (saving * (rows * c if recompute else saved)  # by the blocks, the last norm and the head
            + (2 + bool(config.dropout) / FLOAT) * rows * c)
    earlier = trained if accumulate else 0  # gradients of earlier batches of the step
    scores = (rows if predicted is None else predicted) * v
    # Logits and their gradient; or some of them, and the gradient of the head's weight, which is made with them.
    loss = 2 * scores if whole_logits else min(scores, LOGITS) + (head + min(head, PRODUCT) if scores else 0)
    turned = 0 if config.tied_head else head  # the gradient of a head of its own is made as (V, C) and copied
    moments = (
        kept + loss + earlier,
        kept + (saved if recompute else 0) + working + head + earlier if saving else 0,  # backward of the last block
        # the last gradients: that of a tied table comes from the head and from the embedding, and is their sum
        trained + (2 * head if config.tied_head else 0) + 2 * rows * c,
        trained + turned + weights + (2 * trained if saves_state else 0),  # a checkpoint, while the gradients are there
    )
    return int(FLOAT * (weights + 2 * trained + max(moments)))


def _block_floats(config: GPT2Config, batch_size: int, length: int) -> tuple[float, float]:
    """What the ops of a block save for backward, and how much more its backward pass takes at most, in floats."""
    wide = batch_size * length * config.n_embd
    scores = batch_size * config.n_head * length * length
    attention = scores if length <= QUERIES else 0  # of longer texts the weights are made again
    masks = (scores + 2 * wide) / FLOAT if config.dropout else 0  # bools
    mlp = (2 + 4 + 4 + 4) * wide  # ln_2, c_fc, gelu, c_proj
    saved = (2 + 3 + 1) * wide + attention + mlp + masks  # ln_1, qkv, the heads' result
    in_mlp = 9 * wide  # gelu: three of (B, T, 4C), c_proj has let one go; the residual stream
    in_attention = 10 * wide - mlp  # the MLP has let all go
    return saved, max(in_mlp, in_attention)


def check_memory(needed: int, remedy: str = "--recompute") -> None:
    """Refuse to start what does not fit into the memory that is free now; on a device its own limit decides.

    Args:
        needed: bytes, from `memory_estimate`.
        remedy: what the user can do besides taking smaller batches and shorter texts.

    Raises:
        ResourceError: "cannot train (memory): it takes about 12.3 GB, and 7.1 GB are free; …".
    """
    import psutil

    free = psutil.virtual_memory().available
    if default_backend().on_host and needed > free:
        raise ResourceError(f"cannot train (memory): it takes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                            f"free; use a smaller batch and accumulate more of them, a shorter context, or {remedy}")


@contextmanager
def peak_memory(every: float = 0.02) -> Iterator[Callable[[], int]]:
    """Watch the memory of the process while the block lasts.

    What earlier work has freed is given back to the system first, so that it does not count.

    Args:
        every: seconds between two looks.

    Returns:
        A function that gives the most that was seen, in bytes; on a device, the most that its pool has taken so far.
    """
    import psutil

    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    process, done, most = psutil.Process(), threading.Event(), 0

    def look() -> int:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return most if default_backend().on_host else default_backend().memory()

    def watch() -> None:
        while not done.wait(every):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield look
    finally:
        done.set()
        thread.join()
