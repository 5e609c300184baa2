"""PNG pictures of a run. Matplotlib is imported only when one is drawn."""

import functools
import io
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import ParamSpec

from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.files import write_atomic, writes

__all__ = ["Curve", "Point", "draw_confusion", "draw_curves", "draw_intervals"]

MANY_POINTS = 300

P = ParamSpec("P")
Curve = tuple[Sequence[float], Sequence[float]]  # x values, y values
Point = tuple[float, float, float]  # a value, and the ends of its interval


def _explained(draw: Callable[P, None]) -> Callable[P, None]:
    """Let a function whose first argument is the path of a picture fail in one line, whatever Matplotlib raises."""

    @functools.wraps(draw)
    def explained(*args: P.args, **kwargs: P.kwargs) -> None:
        if not writes.get():
            return
        try:
            draw(*args, **kwargs)
        except (TinygradError, MemoryError):
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise TinygradError(f"cannot draw ({args[0]}): {why if len(why) < 100 else f'{why[:99]}…'}; what was "
                                "computed is saved; reinstall matplotlib") from error

    return explained


@_explained
def draw_curves(path: str | Path, panels: dict[str, dict[str, Curve]], x: str,
                top: tuple[str, float] | None = None) -> None:
    """Draw one panel per entry: title -> name of the curve -> its values; ``x`` labels the shared axis.

    A curve of many points is drawn faintly, with its moving average on top.

    Args:
        top: label of a second axis above, and how much of it makes one of ``x``.
    """
    from matplotlib.ticker import EngFormatter

    figure, axes = _figure(len(panels))
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, (xs, ys) in lines.items():
            if len(xs) <= MANY_POINTS:
                axis.plot(xs, ys, label=name, marker="o" if len(xs) < 30 else None, linewidth=1)
                continue
            faint, = axis.plot(xs, ys, linewidth=0.5, alpha=0.3)
            axis.plot(xs, _moving_average(ys, len(ys) // 50), label=name, linewidth=1.5, color=faint.get_color())
        if top:
            label, scale = top
            above = axis.secondary_xaxis("top", functions=(lambda v: v * scale, lambda v: v / scale))  # noqa: B023
            above.set_xlabel(label)
            above.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.5M
        axis.set(title=title, xlabel=x)
        axis.grid(alpha=0.3)
        axis.legend()
    _write(figure, path)


def _moving_average(values: Sequence[float], width: int) -> list[float]:
    """The mean of the last `width` values at each place, of fewer at the beginning."""
    sums = [0.0, *accumulate(values)]
    return [(sums[i] - sums[max(0, i - width)]) / min(i, width) for i in range(1, len(sums))]


@_explained
def draw_confusion(path: str | Path, confusion: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """A confusion matrix with a row per true class; counts are written in up to 20 classes."""
    figure, (axis,) = _figure(1, width=max(4.5, 0.28 * len(names)))
    shares = [[n / max(1, sum(row)) for n in row] for row in confusion]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set(xlabel="predicted", ylabel="true", xticks=range(len(names)), yticks=range(len(names)),
             yticklabels=names)
    axis.set_xticklabels(names, rotation=90 if len(names) > 6 else 0)
    if len(names) <= 20:
        for i, row in enumerate(confusion):
            for j, n in enumerate(row):
                axis.text(j, i, f"{n:,}", ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black")
    _write(figure, path)


@_explained
def draw_intervals(path: str | Path, names: Sequence[str],
                   series: dict[str, Sequence[Point | None]], x: str) -> None:
    """A point with its interval for each name, from top to bottom, in one colour for each series.

    Args:
        names: of the rows.
        series: name -> the points of the first rows, None where there is none.
        x: label of the axis.
    """
    figure, (axis,) = _figure(1, width=8.0, height=1.2 + 0.3 * len(names))
    for number, (label, values) in enumerate(series.items()):
        shift = 0.25 * (number - (len(series) - 1) / 2)
        points = [(value, row + shift) for row, value in enumerate(values) if value]
        centres = [value[0] for value, _ in points]
        ends = [[value[0] - value[1] for value, _ in points], [value[2] - value[0] for value, _ in points]]
        axis.errorbar(centres, [row for _, row in points], xerr=ends, fmt="o", markersize=4, capsize=2, label=label)
    axis.set(xlabel=x, yticks=range(len(names)), yticklabels=names,
             ylim=(len(names) - 0.5, -0.5))
    axis.grid(alpha=0.3)
    axis.legend()
    _write(figure, path)


def _figure(panels, width=5.0, height=None):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height or max(4.0, 0.8 * width)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _write(figure, path):
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    write_atomic(path, image.getvalue())
