"""Why texts got their labels, as one HTML page that needs nothing else."""

from collections.abc import Sequence
from html import escape

from tinygrad_gpt.recipes.classification.attribution import Attribution
from tinygrad_gpt.recipes.classification.classify import Prediction

__all__ = ["attribution_page", "shade"]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Why this label</title>
<style>
body {{ font: 16px/1.9 system-ui, sans-serif; color: #1b1f24; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .3rem; }}
p {{ margin: .3rem 0; overflow-wrap: anywhere; }}
.text {{ white-space: pre-wrap; border: 1px solid #d5dae0; border-radius: 6px; padding: .5rem .8rem; }}
.note {{ color: #57606a; font-size: .9rem; line-height: 1.4; }}
</style>
<h1>Why this label</h1>
<p class="note">Red speaks for the label, blue against it, by integrated gradients; point at a word, or read its title,
for its part of the log-odds. The parts add up to the difference between the text and a neutral one.</p>
{texts}
</html>
"""
TEXT = """<h2>{label} <small>{probability:.3f}</small></h2>
<p class="text">{spans}</p>
<p class="note">Log-odds {score:+.2f}; of a neutral text {neutral:+.2f}.{truncated}</p>
"""


def attribution_page(answers: Sequence[Prediction], attributions: Sequence[Attribution]) -> str:
    """The page, with one section for each text."""
    return PAGE.format(texts="".join(map(_text, answers, attributions)))


def _text(answer: Prediction, found: Attribution) -> str:
    shades = shade([part.integrated for part in found.words])
    spans = "".join(f'<span style="background:{_colour(strength)}" title="{part.integrated:+.3f}">{escape(part.text)}'
                    "</span>" for part, strength in zip(found.words, shades, strict=True))
    return TEXT.format(label=escape(answer.label), probability=answer.probability, spans=spans, score=found.score,
                       neutral=found.neutral, truncated=" The end of the text was not read." * answer.truncated)


def shade(values: Sequence[float]) -> list[float]:
    """Each value as a share of the largest modulus, −1 to 1."""
    largest = max(map(abs, values), default=0.0)
    return [value / largest if largest else 0.0 for value in values]


def _colour(strength: float) -> str:
    """Red above zero, blue below, at most half covering, so that black text stays readable."""
    red, green, blue = (178, 24, 43) if strength > 0 else (33, 102, 172)
    return f"rgba({red},{green},{blue},{abs(strength) / 2:.3f})"
