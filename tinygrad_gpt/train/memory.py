"""How much memory a training run takes, known before it starts, and measured while it runs."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tinygrad_gpt.backend import default_backend, out_of_memory
from tinygrad_gpt.backend.precision import POLICIES, is_half
from tinygrad_gpt.errors import ResourceError
from tinygrad_gpt.models.gpt2 import GPT2Config
from tinygrad_gpt.ops.cuda.linear_cross_entropy import DEVICE_LOGITS
from tinygrad_gpt.ops.fast.attention import QUERIES
from tinygrad_gpt.ops.fast.linear_cross_entropy import LOGITS, PRODUCT
from tinygrad_gpt.parallel.group import current_group

__all__ = ["Plan", "check_memory", "memory_estimate", "memory_is_enough", "peak_memory"]

FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Plan:
    """What a training run does, as far as its memory depends on it.

    Args:
        blocks: how many of the last blocks keep what their gradients need; None: all, and the embeddings are trained.
        trained: numbers that are trained; None: all of those blocks and the last norm, or of the model.
        predicted: positions of a batch at which the loss scores the whole vocabulary; None: all.
        recompute: whether each block is run again in backward.
        accumulate: whether a step has several batches.
        saves_state: whether checkpoints hold the moments, so that the run can be resumed.
        whole_logits: whether the loss needs all logits at once, as that of preferences does.
        precision: of the layers' arithmetic.
    """

    blocks: int | None = None
    trained: int | None = None
    predicted: int | None = None
    recompute: bool = False
    accumulate: bool = False
    saves_state: bool = True
    whole_logits: bool = False
    precision: str = "float32"


EVERYTHING = Plan()
"""Training of all layers in float32, with checkpoints that can be resumed."""


def memory_estimate(config: GPT2Config, batch_size: int, length: int, plan: Plan = EVERYTHING) -> int:
    """Bytes that training takes at its peak on the default backend, beyond the interpreter and its libraries.

    With several processes it is what each takes, with its rows. They are the weights, AdamW's two moments, and what the
    moment of largest use needs besides: the loss over the vocabulary, the backward pass of the last block, the last
    gradients, or a checkpoint, which is built in the host's memory. On the host within 15 % of what the operating
    system counts (tests/train/test_memory.py).

    Args:
        config: of the model.
        batch_size, length: of the largest batch that is computed at once, in rows and tokens.
        plan: what is trained, and how.
    """
    group = current_group()
    batch_size = -(-batch_size // group.size)
    c, v, rows = config.n_embd, config.vocab_size, batch_size * length
    block = 12 * c * c + (13 if config.qkv_bias else 10) * c
    weights = (v + config.n_ctx) * c + config.n_layer * block + 2 * c + (0 if config.tied_head else v * c)
    head = v * c if plan.blocks is None else 0  # gradient of its weight
    saving = config.n_layer if plan.blocks is None else plan.blocks
    trained = plan.trained
    if trained is None:
        trained = weights if plan.blocks is None else saving * block + 2 * c
    saved, working = _block_floats(config, batch_size, length)
    some_logits, for_head, for_embedding = LOGITS, min(head, PRODUCT), 2 * rows * c
    if default_backend().launch is not None:
        half = is_half(POLICIES[plan.precision].dtype)
        saved, working = _kernel_floats(config, batch_size, length, half, masks=plan.recompute)
        working = (working + block) * (1 if plan.recompute else saving)  # gradients of the blocks are made together
        weights += (config.n_layer * block + v * c) // 2 if half else 0  # as products take them
        some_logits, for_head, for_embedding = DEVICE_LOGITS, 0, 0
    kept = (saving * (rows * c if plan.recompute else saved)  # by the blocks, the last norm and the head
            + (2 + bool(config.dropout) / FLOAT) * rows * c)
    earlier = trained if plan.accumulate else 0  # gradients of earlier batches of the step
    scores = (rows if plan.predicted is None else plan.predicted) * v
    # Logits and their gradient; or some of them, and the gradient of the head's weight, which is made with them.
    some = scores / max(1, math.ceil(scores / some_logits))
    loss = 2 * scores if plan.whole_logits else some + (head + for_head if scores else 0)
    sent, new = (trained, 0) if group.size > 1 else (0, trained)  # gradients: of processes they have a lasting array
    turned = 0 if config.tied_head else head  # the gradient of a head of its own is made as (V, C) and copied
    moments = (
        kept + loss + earlier,
        kept + (saved if plan.recompute else 0) + working + head + earlier if saving else 0,  # backward of a block
        new + for_embedding + 2 * rows * c,  # the last gradients: that of the embedding is added, sorted by token
        # a checkpoint, while the gradients are there
        new + turned + weights + (2 * trained if plan.saves_state else 0) if default_backend().on_host else 0,
    )
    whole = 2 * trained / (group.size if group.shards else 1)
    return int(FLOAT * (weights + whole + sent + max(moments)))


def _block_floats(config: GPT2Config, batch_size: int, length: int) -> tuple[float, float]:
    """What the ops of a block save for backward, and how much more its backward pass takes at most, in floats."""
    wide = batch_size * length * config.n_embd
    scores = batch_size * config.n_head * length * length
    attention = scores if length <= QUERIES else 0  # of longer texts the weights are made again
    masks = (scores + 2 * wide) / FLOAT if config.dropout else 0  # bools
    mlp = (2 + 4 + 4) * wide  # ln_2 with its result, gelu, c_proj
    saved = (2 + 3 + 1) * wide + attention + mlp + masks  # ln_1 with its result, qkv, the heads' result
    in_mlp = 5 * wide  # gelu: two of (B, T, 4C), c_proj has let one go; the residual stream
    in_attention = 10 * wide - mlp  # the MLP has let all go
    return saved, max(in_mlp, in_attention)


def _kernel_floats(config: GPT2Config, batch_size: int, length: int, half: bool,
                   masks: bool = False) -> tuple[float, float]:
    """The same where there are kernels: attention saves no scores, and what goes into weights' gradients is kept.

    Of dropout there are ``masks`` where each block runs op by op.
    """
    wide = batch_size * length * config.n_embd
    bools = batch_size * config.n_head * length * length + 2 * wide if config.dropout and masks else 0
    layers = (2 + 3 + 1 + 4 + 4) * wide  # results of norms, qkv, the heads' result, c_fc, gelu
    gradients = (2 + 3) * wide  # of two branches and of qkv
    return 2 * wide + bools / FLOAT + layers / (1 + half), gradients / (1 + half)


def check_memory(needed: int, remedy: str = "--recompute") -> None:
    """Refuse a run that does not fit into the free memory of the device, or into this process's share of the host's.

    Args:
        needed: bytes, from `memory_estimate`.
        remedy: what the user can do besides taking smaller batches and shorter texts.

    Raises:
        ResourceError: "cannot train (memory): it takes about 12.3 GB, and 7.1 GB are free; …".
    """
    backend = default_backend()
    free = backend.free_memory() // (current_group().local if backend.on_host else 1)
    if needed > free:
        where = "memory" if backend.on_host else "GPU memory"
        raise ResourceError(f"cannot train ({where}): it takes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
                            "are free; use a smaller batch and accumulate more of them, a shorter context, or "
                            f"{remedy}")


@contextmanager
def memory_is_enough(where: str) -> Iterator[None]:
    """Say what to do if memory runs out in the block, whichever array package notices.

    Args:
        where: the place, such as "step 7".

    Raises:
        ResourceError: "out of memory (step 7): nothing was updated; 1.20 GB were asked for on the GPU, …; take a
            smaller batch, …".
    """
    try:
        yield
    except Exception as error:
        if (said := out_of_memory(error)) is None:
            raise
        raise ResourceError(f"out of memory ({where}): nothing was updated; {said}; take a smaller --batch-size, "
                            "shorter texts, --recompute or --precision float16 where the command has them, or a "
                            "smaller model") from error


@contextmanager
def peak_memory(every: float = 0.02) -> Iterator[Callable[[], int]]:
    """Watch the memory of the process while the block lasts.

    What earlier work has freed is given back to the system or the device first, so that it does not count.

    Args:
        every: seconds between two looks.

    Returns:
        A function that gives the most that was seen, in bytes; on a device, the most that its pool has taken so far.
    """
    import psutil

    default_backend().give_back()
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
