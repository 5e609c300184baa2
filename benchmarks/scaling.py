"""How the cost of a training step grows with the length of the texts, the batch and the layers.

    python benchmarks/scaling.py [--threads 2] [--write]

Tokens per second and peak memory beside torch eager (SDPA), and beside what the model's own arithmetic predicts from
the smallest point of each row: the matrix products of the linear layers and the head, and attention over all pairs
of positions. Memory is predicted by `memory_estimate` and what the interpreter takes. --write draws a picture
into docs/, one for each kind of processor.
"""

import io
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import train_step
from common import REPOSITORY, Line, Options, command_line, finish, kind, median, table, tiny

SIZES = {"vocab_size": 8192, "n_layer": 6, "n_head": 6, "n_embd": 384, "batch": 1, "length": 128, "steps": 1}
AXES = {  # what grows, and what is different from SIZES besides
    "length": ("T", (128, 256, 512, 1024), {}),
    "batch": ("B", (1, 2, 4, 8), {}),
    "n_layer": ("layers", (2, 4, 6, 12), {"batch": 4}),
}


@dataclass(frozen=True)
class Point:
    """One size: milliseconds and MiB of each side, and what is predicted of ours."""

    axis: str
    settings: dict[str, int]
    ms: dict[str, float]
    mib: dict[str, float]

    @property
    def value(self) -> int:
        """The size that is varied."""
        return self.settings[self.axis]

    def speed(self, side: str) -> float:
        """Tokens per second."""
        return 1000 * self.settings["batch"] * self.settings["length"] / self.ms[side]


def operations(vocab_size: int, n_layer: int, n_embd: int, batch: int, length: int, **_: int) -> int:
    """Multiplications and additions of a training step; backward takes twice as many as forward."""
    of_a_token = 2 * (12 * n_embd**2 * n_layer + vocab_size * n_embd) + 4 * length * n_embd * n_layer
    return 3 * of_a_token * batch * length


def predicted_mib(vocab_size: int, n_layer: int, n_head: int, n_embd: int, batch: int, length: int, **_: int) -> float:
    """Peak memory of a step in MiB, beyond the interpreter."""
    from tinygrad_gpt.models.gpt2 import GPT2Config
    from tinygrad_gpt.train.memory import Plan, memory_estimate

    config = GPT2Config(vocab_size, n_ctx=length, n_embd=n_embd, n_layer=n_layer, n_head=n_head)
    return memory_estimate(config, batch, length, Plan(saves_state=False)) / 2**20


def points(options: Options) -> list[Point]:
    """All sizes of all axes, measured."""
    threads = options.threads[-1]
    empty = train_step.BENCHMARK.figures(("imports",), {}, threads, options)["imports"][0]["mib"]

    @cache  # two axes meet in some sizes
    def measured(*settings: tuple[str, int]) -> dict[str, list[dict[str, float]]]:
        return train_step.BENCHMARK.figures(("ours", "torch"), dict(settings), threads, options)

    found: list[Point] = []
    for axis, (_, values, others) in AXES.items():
        first: Point | None = None
        for value in values[:2] if options.tiny else values:
            settings = SIZES | others | {axis: value}
            if options.tiny:
                settings = tiny(settings)
            figures = measured(*settings.items())
            ms = {side: median(block["ms"] for block in blocks) for side, blocks in figures.items()}
            mib = {side: max(block["mib"] for block in blocks) for side, blocks in figures.items()}
            mib["predicted"] = empty + predicted_mib(**settings)
            ms["predicted"] = (first.ms["ours"] * operations(**settings) / operations(**first.settings) if first
                               else ms["ours"])
            found.append(Point(axis, settings, ms, mib))
            first = first or found[-1]
    return found


def measure(options: Options) -> list[Line]:
    """For each axis, time and memory of the size at which ours is worst beside the prediction."""
    return summary(points(options), options)


def summary(found: list[Point], options: Options) -> list[Line]:
    """The lines of `measure`."""
    lines = []
    for axis, (name, values, _) in AXES.items():
        for figure, unit, goal in (("time", "ms", 1.0), ("memory", "MiB", 1.15)):
            sides = [(p.value, p.ms if unit == "ms" else p.mib) for p in found if p.axis == axis]
            value, worst = max(sides, key=lambda side: side[1]["ours"] / side[1]["predicted"])
            ours, predicted = worst["ours"], worst["predicted"]
            lines.append(Line(f"{name} {values[0]} to {values[-1]}: {figure} beside the prediction, worst at {value}",
                              unit, ours, predicted, ours / predicted, None, goal, options.threads[-1]))
    return lines


def points_table(found: list[Point]) -> str:
    """A row for each size."""
    sides = [side for side in ("ours", "torch", "predicted") if side in found[0].ms]
    header = ["", *(f"{side} tokens/s" for side in sides), *(f"{side} MiB" for side in sides)]
    return table(header, [[f"{AXES[p.axis][0]} {p.value}", *(f"{p.speed(side):,.0f}" for side in sides),
                           *(f"{p.mib[side]:,.0f}" for side in sides)] for p in found])


def draw(path: Path, found: list[Point]) -> None:
    """Two rows of pictures, tokens per second and memory, with a column for each axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tinygrad_gpt.files import write_atomic

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(AXES))
    for column, (axis, (name, _, _)) in enumerate(AXES.items()):
        here = [point for point in found if point.axis == axis]
        xs = [point.value for point in here]
        for side, style in {"ours": "o-", "torch": "s-", "predicted": "k:"}.items():
            if side in here[0].ms:
                panels[0, column].plot(xs, [point.speed(side) for point in here], style, label=side)
                panels[1, column].plot(xs, [point.mib[side] for point in here], style, label=side)
        for row, label in enumerate(("tokens per second", "peak memory, MiB")):
            panels[row, column].set(xlabel=name, ylabel=label, xticks=xs, ylim=(0, None))
            panels[row, column].grid(alpha=0.3)
    panels[0, 0].legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    write_atomic(path, image.getvalue())


def main() -> None:
    options, arguments = command_line(__doc__)
    found = points(options)
    picture = f"scaling-{re.sub('[^a-z0-9]+', '-', kind().lower())}.png"
    if arguments.write:
        draw(REPOSITORY / "docs" / picture, found)
    finish("How cost grows", __file__, [
        points_table(found), f"![tokens per second and memory]({picture})",
        f"One training step with {options.threads[-1]} threads; {SIZES['n_layer']} layers, {SIZES['n_head']} heads, "
        f"width {SIZES['n_embd']}, vocabulary {SIZES['vocab_size']:,}, one text of {SIZES['length']} tokens where "
        "nothing else is said, four of them for the layers. Predicted: the time of the first size of a group, times "
        "the operations that the model's formulas count, all pairs of positions in attention among them; memory by "
        f"`memory_estimate`. Medians of {options.blocks} steps that take turns."], arguments)


if __name__ == "__main__":
    main()
