"""torch's side of gpu.py: the same training, decoding and finetuning on the same device."""

import contextlib
import functools
import time

import common  # noqa: F401 - the path
import finetune_spam
import generate
import numpy as np
import torch_side
from common import tokens
from gpu_sides import serve
from torch_side import F, torch, torch_gpt2

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seconds_of(work):
    """How long it takes, with all that the device has to do for it."""
    wait = torch.cuda.synchronize if DEVICE == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


@contextlib.contextmanager
def policy(precision):
    """float32; TF32 in matrix products; or autocast to bfloat16."""
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


@functools.lru_cache(maxsize=2)
def training_step(written, batch, length, **sizes):
    """A function that takes a precision, does one step on random tokens, and returns the loss.

    Args:
        written: "book", in elementary operations; "sdpa", the model of tests/helpers/torch_gpt2.py; "compiled", the
            same compiled.
    """
    with torch.device(DEVICE):
        model = (torch_side.book(length, sizes["vocab_size"], **sizes).requires_grad_() if written == "book" else
                 torch_side.gpt2(length, **sizes))
    settings = {"lr": 1e-4, "weight_decay": 0.01}
    optimizer = (torch.optim.AdamW(model.parameters(), **settings) if written == "book" else
                 torch_gpt2.adamw(model, fused=DEVICE == "cuda", **settings))
    drawn = torch.from_numpy(tokens(sizes["vocab_size"], batch, length + 1)).to(DEVICE)
    ids, targets = drawn[:, :-1].contiguous(), drawn[:, 1:].flatten()
    run = torch.compile(model, dynamic=False) if written == "compiled" and DEVICE == "cuda" else model

    def step(precision):
        optimizer.zero_grad()
        with policy(precision):
            loss = F.cross_entropy(run(ids).flatten(0, 1), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def train(written, batch, length, steps, precision, **sizes):
    step = training_step(written, batch, length, **sizes)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    loss = step(precision).item()  # takes the memory, and compiles
    seconds = seconds_of(lambda: [step(precision) for _ in range(steps)]) / steps
    taken = torch.cuda.max_memory_reserved() if DEVICE == "cuda" else 0
    return {"seconds": seconds, "bytes": taken, "loss": loss}


@functools.lru_cache(maxsize=2)
def decoding(batch, prompt, new, **sizes):
    return generate.torch_block(batch, prompt, new, DEVICE, **sizes)


def decode(batch, prompt, new, precision, **sizes):
    with policy(precision):
        block = decoding(batch, prompt, new, **sizes)
        block()
        return {"seconds": seconds_of(block) / new}


def finetune(task, trained, precision, **sizes):
    """The book's model and procedure on the texts of a file; the model is made before the clock starts."""
    kept = np.load(task)
    texts, parts, steps = finetune_spam.read_task(kept)
    make = functools.partial(finetune_spam.Torch, texts, kept["labels"], kept["ids"].shape[1], trained, DEVICE)
    with policy(precision):
        return finetune_spam.warm_procedure(make, parts, steps, sizes)


def give_back():
    """Leave the memory of freed tensors to the other processes."""
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def machine():
    return {"torch": torch.__version__, "device": DEVICE}


WORKS = {work.__name__: work for work in (train, decode, finetune, machine)}

if __name__ == "__main__":
    serve(WORKS, give_back)
