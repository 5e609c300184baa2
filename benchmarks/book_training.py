"""Train as *Build a Large Language Model (From Scratch)* does: its initial values, order and dropout masks.

    python benchmarks/book_training.py chapter-5 --text the-verdict.txt --vocabulary FOLDER [--steps N]

Prints what the book prints, beside the book's own figures where it gives them. About 12 seconds a step on one core,
evaluations included.
Source: S. Raschka, the book's chapter 5 and appendix D, and their notebooks in github.com/rasbt/LLMs-from-scratch.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.book.batches import token_windows
from tinygrad_gpt.book.initial_values import initial_values
from tinygrad_gpt.book.torch_dropout import use_torch_dropout
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.generate.decode import decode
from tinygrad_gpt.generate.sampling import Sampling
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import train_step

Windows = tuple[np.ndarray, np.ndarray]  # ids and targets, (N, n_ctx)


@dataclass(frozen=True)
class Run:
    """What chapter 5 and appendix D do not share; `printed` holds the book's losses by step."""

    epochs: int
    lr: Callable[[int], float]
    max_norm: Callable[[int], float]
    eval_batches: int
    printed: dict[int, tuple[float, float]]


RUNS = {
    "chapter-5": Run(
        10, lr=lambda step: 4e-4, max_norm=lambda step: math.inf, eval_batches=5,
        printed={0: (9.781, 9.933), 5: (8.111, 8.339), 10: (6.661, 7.048), 15: (5.961, 6.616), 20: (5.726, 6.600),
                 25: (5.201, 6.348), 30: (4.417, 6.278), 35: (4.069, 6.226), 40: (3.732, 6.160), 45: (2.850, 6.179),
                 50: (2.427, 6.141), 55: (2.104, 6.134), 60: (1.882, 6.233), 65: (1.320, 6.238), 70: (0.985, 6.242),
                 75: (0.717, 6.293), 80: (0.541, 6.393), 85: (0.391, 6.452)}),
    "appendix-d": Run(
        15, lr=lambda step: warmup_cosine(step, 135, peak=1e-3, warmup=27, initial=1e-5, minimum=1e-5),
        max_norm=lambda step: 1.0 if step > 27 else math.inf, eval_batches=1,
        printed={0: (10.934, 10.939), 5: (9.151, 9.461), 10: (7.949, 8.184), 15: (6.362, 6.876), 130: (0.041, 6.915)}),
}


def batches(windows: Windows, stream: TorchStream, shuffle: bool, size: int = 2) -> Iterator[Windows]:
    """One pass over a DataLoader."""
    order = stream.loader_order(len(windows[0]), shuffle)
    for start in range(0, len(order), size):
        chosen = order[start:start + size]
        yield windows[0][chosen], windows[1][chosen]


def mean_loss(model: GPT2, passing: Iterator[Windows], n: int) -> float:
    """Mean loss of the first n batches, without dropout."""
    model.eval()
    with no_grad():
        losses = [ops.cross_entropy(model(ids), targets).item() for _, (ids, targets) in zip(range(n), passing)]  # noqa: B905
    model.train()
    return sum(losses) / len(losses)


def train(model: GPT2, run: Run, stream: TorchStream, training: Windows, validation: Windows,
          sample: Callable[[], str] = str, steps: int | None = None) -> Iterator[str]:
    """Train, and yield the lines that the book prints."""
    use_torch_dropout(model.train(), stream)
    optimizer = AdamW(model.parameters(), weight_decay=0.1)
    started = time.monotonic()
    for epoch in range(run.epochs):
        for ids, targets in batches(training, stream, shuffle=True):
            step = optimizer.steps
            if step == steps:
                return
            optimizer.lr = run.lr(step)
            train_step([lambda ids=ids, targets=targets: ops.cross_entropy(model(ids), targets)], optimizer,
                       run.max_norm(step), f"step {step}")
            if step % 5 == 0:
                losses = (mean_loss(model, batches(training, stream, shuffle=True), run.eval_batches),
                          mean_loss(model, batches(validation, stream, shuffle=False), run.eval_batches))
                book = "the book: {:.3f}, {:.3f}".format(*run.printed[step]) if step in run.printed else ""
                yield (f"epoch {epoch + 1}, step {step}: training loss {losses[0]:.3f}, validation loss "
                       f"{losses[1]:.3f} ({(time.monotonic() - started) / 60:.1f} min) {book}".rstrip())
        yield sample()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", choices=RUNS)
    parser.add_argument("--text", type=Path, required=True, help="the-verdict.txt")
    parser.add_argument("--vocabulary", type=Path, required=True, help="folder with GPT-2's vocab.bpe and encoder.json")
    parser.add_argument("--steps", type=int, help="stop after this many steps")
    settings = parser.parse_args()
    text = settings.text.read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_pretrained(settings.vocabulary)
    cut = int(0.9 * len(text))
    training, validation = (token_windows(np.array(tokenizer.encode(part)), 256) for part in (text[:cut], text[cut:]))
    stream = TorchStream(123)
    model = GPT2(GPT2Config(n_ctx=256, dropout=0.1, qkv_bias=False, tied_head=False), seed=None)
    model.load_state_dict(initial_values(stream, vocab_size=50257, n_ctx=256, n_embd=768, n_layer=12))
    start = "Every effort moves you"

    def sample() -> str:
        greedy = decode(model.eval(), tokenizer, [tokenizer.encode(start)], Sampling(temperature=0), max_new_tokens=50)
        text = start + "".join(token.text for token in greedy).replace("\n", " ")
        model.train()
        return text

    for line in train(model, RUNS[settings.run], stream, training, validation, sample, settings.steps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
