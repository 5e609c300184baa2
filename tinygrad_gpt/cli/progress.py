"""How far a training run is, on stderr: bars on a terminal, else a line whenever the model was evaluated."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tinygrad_gpt.cli.show import note

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.corpus import Preparation
    from tinygrad_gpt.train import Progress

__all__ = ["preparation_shown", "progress_shown"]

PATIENCE = 5  # seconds without a word that a user is left with


@contextlib.contextmanager
def preparation_shown() -> Iterator[Callable[["Preparation"], None]]:
    """Give a function to call while texts are read: it shows what takes longer than a few seconds."""
    last, stage = time.monotonic(), ""

    def report(preparation: "Preparation") -> None:
        nonlocal last, stage
        if time.monotonic() - last > PATIENCE and preparation.total:
            last, stage = time.monotonic(), preparation.what
            note(f"{preparation.what}: {preparation.done:,} of {preparation.total:,} characters")

    yield report


@contextlib.contextmanager
def progress_shown() -> Iterator[Callable[["Progress"], None]]:
    """Give a function to call after each step; what it shows ends with the block, also on a failure."""
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _Lines()


class _Lines:
    """One line per evaluation."""

    def __init__(self) -> None:
        self.first: Progress | None = None

    def __call__(self, progress: "Progress") -> None:
        self.first = self.first or progress
        if progress.scores or progress.step == progress.total:
            seconds, steps = progress.seconds - self.first.seconds, progress.step - self.first.step
            left = f", {seconds / steps * (progress.total - progress.step):,.0f} s left" if steps else ""
            note(f"step {progress.step:,} of {progress.total:,}: {_figures(progress, self.first)}{left}")


@contextlib.contextmanager
def _bar() -> Iterator[Callable[["Progress"], None]]:
    from tqdm import tqdm

    first: Progress | None = None
    scores: dict[str, float] = {}
    with tqdm(unit="step", file=sys.stderr, dynamic_ncols=True) as bar:

        def report(progress: "Progress") -> None:
            nonlocal first
            if first is None:
                first = progress
                bar.reset(total=progress.total)
                bar.initial = bar.n = progress.step - 1  # a resumed run starts in the middle
            scores.update(progress.scores)
            bar.set_postfix_str(_figures(progress, first, scores), refresh=False)
            bar.update()

        yield report


def _figures(progress: "Progress", first: "Progress", scores: dict[str, float] | None = None) -> str:
    shown = {"loss": progress.loss, **(progress.scores if scores is None else scores)}
    text = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown.items())
    seconds = progress.seconds - first.seconds
    return f"{text}, {(progress.tokens - first.tokens) / seconds:,.0f} tokens/s" if seconds > 0 else text
