"""This package's side of gpu.py: training, decoding, finetuning, the shipped models, the ops, and where a step goes."""

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import packages_distributions, version
from typing import Any

import common  # noqa: F401 - the path
import finetune_spam
import generate as generate_benchmark
import numpy as np
from common import tokens
from gpu_ops import at_size, ops, whole_model
from gpu_sides import serve

from tinygrad_gpt.backend import default_backend, use_backend
from tinygrad_gpt.backend.cudnn import attention as implementation
from tinygrad_gpt.backend.precision import precision as policy
from tinygrad_gpt.engine.mode import observing
from tinygrad_gpt.errors import BackendError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.generate import GenerateConfig, generate
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, SHIPPED_CLASSIFIER, load_model


def seconds_of(work: Callable[[], Any]) -> float:
    """How long it takes, with all that the device has to do for it."""
    default_backend().synchronize()
    started = time.perf_counter()
    work()
    default_backend().synchronize()
    return time.perf_counter() - started


@functools.lru_cache(maxsize=1)
def training_step(batch, length, **sizes):
    """A function that does one step on random tokens and returns the loss, and the model."""
    model = GPT2(GPT2Config(n_ctx=length, **sizes))
    optimizer = AdamW(model.parameters(), lr=1e-4, decayed_axes=2)
    drawn = tokens(sizes["vocab_size"], batch, length + 1)
    ids, targets = (default_backend().from_numpy(part.copy()) for part in (drawn[:, :-1], drawn[:, 1:]))

    def step():
        optimizer.zero_grad()
        loss = model.loss(ids, targets)
        loss.backward()
        optimizer.step()
        return loss

    return step, model


def train(batch, length, steps, precision, attention="own", **sizes):
    step, _ = training_step(batch, length, **sizes)
    with implementation(attention), policy(precision):
        loss = step().item()  # compiles kernels, and takes the memory
        seconds = seconds_of(lambda: [step() for _ in range(steps)]) / steps
    return {"seconds": seconds, "bytes": default_backend().memory(), "loss": loss}


@functools.lru_cache(maxsize=2)
def decoding(batch, prompt, new, **sizes):
    return generate_benchmark.our_block(batch, prompt, new, **sizes)


def decode(batch, prompt, new, precision, **sizes):
    with policy(precision):
        block = decoding(batch, prompt, new, **sizes)
        block()
        return {"seconds": seconds_of(block) / new}


def finetune(task, trained, precision, **sizes):
    """The book's procedure on the texts of a file; the model is made before the clock starts."""
    kept = np.load(task)
    texts, parts, steps = finetune_spam.read_task(kept)
    make = functools.partial(finetune_spam.Ours, texts, kept["labels"], kept["ids"].shape[1], "cached", trained)
    with policy(precision):
        return finetune_spam.warm_procedure(make, parts, steps, sizes) | {"bytes": default_backend().memory()}


def shipped(texts, new):
    """Texts a second of the shipped classifier, tokens a second of the shipped language model."""
    classifier, storyteller = load_model(SHIPPED_CLASSIFIER), load_model(SHIPPED_BASE)
    words = ["free", "prize", "call", "now", "see", "you", "at", "six", "win", "cash", "the", "a", "to", "home", "text"]
    r = np.random.default_rng(0)
    messages = [" ".join(r.choice(words, size)) for size in r.integers(2, 30, texts)]
    config = GenerateConfig(max_new_tokens=new)
    written = []
    classify(classifier, messages[:256], batch_tokens=2**14)
    generate(storyteller, ["Once"], GenerateConfig(max_new_tokens=2))
    return {"texts": texts / seconds_of(lambda: classify(classifier, messages, batch_tokens=2**14)),
            "tokens": 1 / seconds_of(lambda: written.extend(generate(storyteller, ["Once upon a time"], config)))
            * len(written[0].ids)}


def profile(batch, length, precision, **sizes):
    """Seconds of each op in a step, forward and backward, every op waited for, and of a step that waits for none."""
    step, _ = training_step(batch, length, **sizes)
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])  # forward, backward, calls
    last = 0.0

    def until_now():
        nonlocal last
        default_backend().synchronize()
        before, last = last, time.perf_counter()
        return last - before

    def observe(op, arguments, result):
        spent[op.name][0] += until_now()
        spent[op.name][2] += 1
        if result.node is not None:
            _watch(result.node, spent[op.name], until_now)

    with policy(precision):
        step(), step()
        whole = seconds_of(step)
        with observing(observe):
            until_now()
            step()
            rest = until_now()  # since the last pullback: the optimiser
    return {"whole": whole, "rest": rest, "ops": spent}


def _watch(node, seconds, until_now):
    """Have the pullbacks of a node add their seconds to seconds[1]."""
    def timed(pullback):
        def watched(g):
            until_now()
            result = pullback(g)
            seconds[1] += until_now()
            return result
        return watched

    node.pullbacks = (timed(node.pullbacks) if callable(node.pullbacks) else
                      [pullback and timed(pullback) for pullback in node.pullbacks])


def give_back():
    """Leave the memory of freed arrays to the other processes."""
    default_backend().give_back()


def machine():
    package = packages_distributions().get("cupy", ["none"])[0]
    return {"backend": default_backend().name, "NumPy": version("numpy"),
            "CuPy": "none" if package == "none" else f"{package} {version(package)}"}


WORKS = {work.__name__: work for work in (train, decode, finetune, shipped, ops, at_size, whole_model, profile,
                                       machine)}

if __name__ == "__main__":
    try:
        use_backend(sys.argv[1])
    except BackendError as missing:
        sys.exit(str(missing))
    serve(WORKS, give_back)
