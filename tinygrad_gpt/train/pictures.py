"""PNG pictures of a run. Matplotlib is imported only when one is drawn."""

import io
from collections.abc import Sequence
from pathlib import Path

from tinygrad_gpt.files import write_atomic

__all__ = ["draw_confusion", "draw_curves"]


Curve = tuple[Sequence[float], Sequence[float]]  # x values, y values


def draw_curves(path: str | Path, panels: dict[str, dict[str, Curve]], x: str) -> None:
    """Draw one panel per entry: title -> name of the curve -> its values; ``x`` labels the shared axis."""
    figure, axes = _figure(len(panels))
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, (xs, ys) in lines.items():
            axis.plot(xs, ys, label=name, marker="o" if len(xs) < 30 else None, linewidth=1)
        axis.set(title=title, xlabel=x)
        axis.grid(alpha=0.3)
        axis.legend()
    _write(figure, path)


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


def _figure(panels, width=5.0):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, max(4.0, 0.8 * width)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _write(figure, path):
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    write_atomic(path, image.getvalue())
