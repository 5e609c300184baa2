"""Formulas of docstrings as MathML, so that browsers set bars, roots and exponents where they belong.

The docstrings write formulas in Unicode: ``W̄ = xᵀ ȳ``, ``y = (x − μ) / √(σ² + ε)``. Each line is read into identifiers,
numbers and operators; a combining mark goes over its letters, raised and lowered characters become superscripts and
subscripts, and a root covers the brackets behind it.

Source: MathML Core, https://www.w3.org/TR/mathml-core/.
"""

import re
import unicodedata
from collections.abc import Iterator
from html import escape

__all__ = ["mathml"]

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀⁿˣʸ", "0123456789+−Tnxy", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₙₜ", "0123456789ijknt", strict=True))
OVER = {"\u0302": "^", "\u0304": "¯", "\u0305": "¯"}
TOKEN = re.compile(rf"""
    (?P<space>\s+)
  | (?P<raised>[{''.join(RAISED)}]+)
  | (?P<lowered>[{''.join(LOWERED)}]+)
  | (?P<number>[0-9]+(?:\.[0-9]+)?(?:e[-+−]?[0-9]+)?)
  | (?P<name>[A-Za-zΑ-ω]+)(?P<over>[{''.join(OVER)}]?)(?:_(?P<index>[A-Za-z0-9]+))?
  | (?P<operator>.)
""", re.VERBOSE)


def mathml(text: str) -> str:
    """A formula of one or several lines as a ``<math>`` element for each, without any other markup.

    Args:
        text: as in a docstring, in Unicode.

    Example:
        >>> mathml("x̄ = 2ᵀ")
        '<math display="block"><mover><mi>x</mi><mo>¯</mo></mover><mo>=</mo><msup><mn>2</mn><mi>T</mi></msup></math>'
    """
    return "".join(f'<math display="block">{"".join(_elements(unicodedata.normalize("NFD", line)))}</math>'
                   for line in text.splitlines() if line.strip())


def _elements(line: str) -> list[str]:
    """The elements of a line, one for each thing that a superscript could stand on."""
    found: list[str] = []
    matches = TOKEN.finditer(line)
    for match in matches:
        if match["raised"] or match["lowered"]:
            tag, letters = ("msup", RAISED) if match["raised"] else ("msub", LOWERED)
            base = found.pop() if found else "<mrow></mrow>"
            found.append(f"<{tag}>{base}{_plain(''.join(letters[c] for c in match[0]))}</{tag}>")
        elif match["name"]:
            found.append(_name(match))
        elif match["number"]:
            found.append(f"<mn>{match[0]}</mn>")
        elif match[0] == "√":
            found.append(f"<msqrt>{''.join(_elements(_behind_root(line[match.end():], matches)))}</msqrt>")
        elif match["operator"]:
            found.append(f"<mo>{escape(match[0])}</mo>")
        elif match["space"] and found and not found[-1].startswith("<mo>"):
            found.append('<mspace width="0.25em"/>')
    return found


def _behind_root(rest: str, matches: Iterator[re.Match]) -> str:
    """What a root covers: the text in the brackets behind it, or the next token; ``matches`` go on after it."""
    depth, covered = 0, ""
    for match in matches:
        covered += match[0]
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            break
    return covered[1:-1] if rest.startswith("(") and not depth else covered


def _name(match: re.Match) -> str:
    variant = ' mathvariant="normal"' if len(match["name"]) > 1 else ""  # a word is upright, a letter slanted
    element = f"<mi{variant}>{match['name']}</mi>"
    if match["over"]:
        element = f"<mover>{element}<mo>{OVER[match['over']]}</mo></mover>"
    return f"<msub>{element}{_plain(match['index'])}</msub>" if match["index"] else element


def _plain(text: str) -> str:
    return f"<mn>{text}</mn>" if text.isdigit() else f"<mi>{escape(text)}</mi>"
