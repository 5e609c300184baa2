"""Why a text got its label, in a terminal."""

import os
import sys
from typing import TYPE_CHECKING

import click

from tinygrad_gpt.cli.options import echo, one_line, printable

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.classification.attribution import Attribution

__all__ = ["print_reason"]

MOST = 5  # words that are listed
REDS, BLUES = (224, 217, 210, 203), (195, 153, 111, 69)  # of xterm's 256 colours, from pale to full


def print_reason(found: "Attribution") -> None:
    """Print the words that moved a decision most; the whole text in colours where a terminal shows them."""
    if sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        print("    " + "".join(_coloured(printable(part.text), strength) for part, strength in _shaded(found)),
              flush=True)
    largest = sorted(found.words, key=lambda word: -abs(word.integrated))[:MOST]
    listed = "   ".join(f"{word.integrated:+.2f} {one_line(word.text) or ascii(word.text)}" for word in largest)
    echo(f"    log-odds {found.score:+.2f}, of a neutral text {found.neutral:+.2f}; most by: {listed}")


def _shaded(found: "Attribution"):
    from tinygrad_gpt.recipes.classification.attribution_page import shade

    return zip(found.words, shade([word.integrated for word in found.words]), strict=True)


def _coloured(text: str, strength: float) -> str:
    shades = REDS if strength > 0 else BLUES
    level = int(abs(strength) * len(shades) + 0.5)  # 0: no colour
    return click.style(text, fg=16, bg=shades[level - 1]) if level else text
