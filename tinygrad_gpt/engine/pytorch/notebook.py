"""How a Tensor shows itself in a notebook: shape, range, and its first numbers on coloured cells."""

from html import escape

import numpy as np

__all__ = ["tensor_html"]

ROWS, COLUMNS = 8, 12


def tensor_html(values: np.ndarray, about: str) -> str:
    """A short table of an array.

    Args:
        values: of any shape; its last axis is laid out in columns.
        about: what else is to be said of it.
    """
    flat = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    shown = flat[:ROWS, :COLUMNS]
    finite = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    size = float(np.abs(finite.astype(np.float64)).max(initial=0.0))
    extent = f", {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    rows = "".join(f"<tr>{''.join(_cell(value, size) for value in row)}</tr>" for row in shown.tolist())
    left_out = flat.size - shown.size
    more = f"<div>{left_out:,} more numbers</div>" if left_out else ""
    return (f"<div>Tensor {escape(str(values.shape))} {values.dtype}{extent}{escape(about)}</div>"
            f'<table style="font-family:monospace">{rows}</table>{more}')


def _cell(value, size: float) -> str:
    number = f"{value:.4g}" if isinstance(value, float) else str(value)
    share = min(1.0, abs(float(value)) / size) if size and np.isfinite(float(value)) else 0.0
    colour = "178,24,43" if float(value) > 0 else "33,102,172"
    return f'<td style="text-align:right;background:rgba({colour},{share / 2:.2f})">{number}</td>'
