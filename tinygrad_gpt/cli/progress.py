"""How far a training run is, on stderr: bars on a terminal, else a line whenever the model was evaluated."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tinygrad_gpt.cli.options import one_line
from tinygrad_gpt.cli.show import note

if TYPE_CHECKING:
    from tinygrad_gpt.runs.progress import Preparation, Progress

__all__ = ["PreparationLines", "counting_bar", "progress_shown", "rate_shown"]

PATIENCE = 5  # seconds between lines while a run prepares


class PreparationLines:
    """Called while a run prepares, it says every few seconds how far that is."""

    def __init__(self) -> None:
        self.spoken = time.monotonic()

    def __call__(self, preparation: "Preparation") -> None:
        if preparation.total and time.monotonic() - self.spoken > PATIENCE:
            self.spoken = time.monotonic()
            note(f"{preparation.what}: {preparation.done:,} of {preparation.total:,} {preparation.unit}")


@contextlib.contextmanager
def counting_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with how many are done and how many there are; a terminal shows a bar meanwhile."""
    from tqdm import tqdm

    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    with tqdm(unit=unit, file=sys.stderr, dynamic_ncols=True, leave=False, disable=not on_terminal) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


@contextlib.contextmanager
def rate_shown(first: int, share: Callable[[], float | None]) -> Iterator[Callable[[int], None]]:
    """Give a function to call with how many texts are done: it shows their rate and, where known, the time left.

    A terminal shows it in one line that changes; a file gets a line after 5 seconds, and further ones ever more rarely.

    Args:
        first: texts that were done before.
        share: how much of the input is read, from 0 to 1; None where that is not known.
    """
    from tqdm import tqdm

    started, begun = time.monotonic(), share() or 0.0
    spoken = started
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    with tqdm(bar_format="{desc}", file=sys.stderr, leave=False, disable=not on_terminal) as bar:

        def report(done: int) -> None:
            nonlocal spoken
            now, read = time.monotonic(), share()
            text = f"{done:,} texts, {(done - first) / max(now - started, 1e-6):,.0f} texts/s"
            if read and read > begun:
                text += f", {_duration((now - started) * (1 - read) / (read - begun))} left"
            if on_terminal:
                bar.set_description_str(text)
            elif now - spoken > max(PATIENCE, (now - started) / 10):
                spoken = now
                note(text)

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
    """One line per evaluation, and one per sample."""

    def __init__(self) -> None:
        self.first: Progress | None = None

    def __call__(self, progress: "Progress") -> None:
        self.first = self.first or progress
        if progress.scores or progress.step == progress.total:
            seconds, steps = progress.seconds - self.first.seconds, progress.step - self.first.step
            left = f", {_duration(seconds / steps * (progress.total - progress.step))} left" if steps else ""
            note(f"step {progress.step:,} of {progress.total:,}: {_figures(progress, self.first)}{left}, {_memory()}")
        for sample in progress.samples:
            note(f"step {progress.step:,} wrote: {sample}")


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
            bar.set_postfix_str(f"{_figures(progress, first, scores)}, {_memory()}", refresh=False)
            bar.update()
            for sample in progress.samples:
                bar.write(one_line(f"step {progress.step:,} wrote: {sample}"), file=sys.stderr)

        yield report


def _figures(progress: "Progress", first: "Progress", scores: dict[str, float] | None = None) -> str:
    shown = {"loss": progress.loss, **(progress.scores if scores is None else scores)}
    text = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown.items())
    seconds = progress.seconds - first.seconds
    return f"{text}, {(progress.tokens - first.tokens) / seconds:,.0f} tokens/s" if seconds > 0 else text


def _memory() -> str:
    """What the process takes now, and the most it took; on a device, the most that arrays took there."""
    import psutil

    from tinygrad_gpt.backend import default_backend, get_backend

    if not default_backend().on_host:
        return f"{default_backend().name}: {default_backend().memory() / 1e6:,.0f} MB at most"
    now, peak = psutil.Process().memory_info().rss, get_backend("numpy").memory()
    return f"{now / 1e6:,.0f} MB (peak {max(peak, now) / 1e6:,.0f})"


def _duration(seconds: float) -> str:
    """As a person says it: 42 s, 3 min, 1 h 49 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
