"""Draw the pictures of the pages: docs/package.svg and docs/training-step.svg.

    python docs/draw.py           write them
    python docs/draw.py --check   fail if one is not what the code and docs/architecture.md say now
"""

import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

INK, MUTED, PAPER, EDGE = "#1f2328", "#59636e", "#ffffff", "#d1d9e0"
VALUE, GRADIENT = "#0b62c4", "#c4320a"
LEVELS = ("#dbe9fb", "#d7f0ee", "#ddf3dd", "#eef3d2", "#fbf3cf", "#fde8cf", "#fbdcd6", "#f6d9e8", "#e8dcf5", "#e3e5e8",
          "#f3ece2")


def text(x: float, y: float, words: str, size: int = 13, colour: str = INK, **more: str) -> str:
    """A line of text that begins at x; ``more`` are attributes, with _ for -."""
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}"{attributes}>{escape(words)}</text>'


def code(x: float, y: float, words: str, size: int = 13, colour: str = INK, **more: str) -> str:
    """The same in the font of code."""
    return text(x, y, words, size, colour, font_family="DejaVu Sans Mono, Menlo, Consolas, monospace", **more)


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str = EDGE, radius: int = 6) -> str:
    """A rectangle with round corners."""
    return (f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" fill="{fill}" '
            f'stroke="{stroke}"/>')


def arrow(path: str, colour: str) -> str:
    """A line along an SVG path, with a head at its end."""
    head = "value" if colour == VALUE else "gradient" if colour == GRADIENT else "plain"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" marker-end="url(#{head})"/>'


def picture(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """A whole SVG file, on paper of its own, so that it can be read on a dark page too."""
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        for name, colour in (("value", VALUE), ("gradient", GRADIENT), ("plain", MUTED)))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="DejaVu Sans, Verdana, Helvetica, sans-serif" role="img">',
        f"<title>{escape(title)}</title>", f"<defs>{heads}</defs>",
        box(0.5, 0.5, width - 1, height - 1, PAPER, radius=10), *parts, "</svg>", ""])


# -- the package -----------------------------------------------------------------------------------------------------

def levels() -> list[tuple[str, list[str], str]]:
    """(level, its files and folders, what is in them) from the table of docs/architecture.md, the highest first."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (L\d+) \|([^|]*)\|([^|]*)\|", page, flags=re.MULTILINE)
    return [(level, re.findall(r"`([^`]+)`", units), what.replace("`", "").strip())
            for level, units, what in reversed(rows)]


def package() -> str:
    """The levels of the package, one band each; a level imports from those below it."""
    width, left, column, parts, y = 980, 70, 372, [], 20
    for number, (level, units, what) in enumerate(levels()):
        lines = textwrap.wrap(what, 80)
        per_line = [units[i:i + 3] for i in range(0, len(units), 3)]
        height = max(19 * len(lines) + 17, 32 * len(per_line) + 10)
        parts += [box(left, y, width - left - 20, height, LEVELS[::-1][number % len(LEVELS)]),
                  text(left - 12, y + height / 2 + 5, level, 13, MUTED, text_anchor="end")]
        for row, group in enumerate(per_line):
            x, top = left + 12.0, y + (height - 32 * len(per_line) + 7) / 2 + 32 * row
            for unit in group:
                parts += [box(x, top, 8 * len(unit) + 18, 25, PAPER, radius=5), code(x + 9, top + 17, unit)]
                x += 8 * len(unit) + 26
        top = y + height / 2 - 9.5 * (len(lines) - 1) + 4
        parts += [text(left + column, top + 19 * i, line, 12, INK) for i, line in enumerate(lines)]
        y += height + 6
    parts += [arrow(f"M28 24V{y - 12}", MUTED),
              text(0, 0, "imports", 12, MUTED, transform=f"translate(20 {y / 2:g}) rotate(-90)", text_anchor="middle")]
    return picture(width, y + 12, "The levels of the package", parts)


# -- a training step -------------------------------------------------------------------------------------------------

def step():
    """The tape of the loss of a small GPT-2 with dropout, whose ops run in their plain form."""
    import numpy as np

    from tinygrad_gpt.engine import using_ops
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.study import view_tape

    model = GPT2(GPT2Config(vocab_size=50, n_ctx=8, n_embd=16, n_layer=2, n_head=2, dropout=0.1)).train()
    tokens = np.random.default_rng(0).integers(0, 50, (2, 9))
    with using_ops("plain"):
        return view_tape(model.loss(tokens[:, :-1], tokens[:, 1:]), model.named_parameters())


def first_block(view) -> tuple[list, dict]:
    """The ops of the first block, in the order of the tape, and all nodes by number."""
    nodes = {node.number: node for node in view.nodes}

    def above(name):
        """The numbers of what was computed from a parameter."""
        found = {node.number for node in view.nodes if node.label == name}
        for node in view.nodes:
            if any(source in found for _, source in node.inputs):
                found.add(node.number)
        return found

    block = above("h.0.ln_1.weight") - above("h.1.ln_1.weight")
    return [nodes[number] for number in sorted(block) if nodes[number].op], nodes


WIDTH, GAP, HEIGHT, LEFT = 136, 28, 78, 74


def op_box(node, nodes, x: float, y: float) -> list[str]:
    """A node at a place: op, shape of its result, what it keeps, and the parameters that get a gradient from it."""
    kept = [saved.name for saved in node.saved if saved.parameter is None]
    file = node.gradients[0].rpartition("/")[2].partition(":")[0]
    middle = x + WIDTH / 2
    parts = [box(x, y, WIDTH, HEIGHT, LEVELS[2] if kept else LEVELS[9], MUTED),
             code(middle, y + 19, node.op, 13, INK, text_anchor="middle", font_weight="bold"),
             code(middle, y + 36, str(node.shape), 11, MUTED, text_anchor="middle"),
             text(middle, y + 53, f"keeps {', '.join(kept)}" if kept else "keeps nothing", 11, INK,
                  text_anchor="middle"),
             code(middle, y + 69, file, 10, MUTED, text_anchor="middle")]
    names = [nodes[source].label.removeprefix("h.0.") for _, source in node.inputs if nodes[source].op is None]
    for i, name in enumerate(names):
        top = y + HEIGHT + 24 + 25 * i
        parts += [box(x, top, WIDTH, 21, "#f6f8fa", radius=10),
                  code(middle, top + 15, name, 10, INK, text_anchor="middle")]
    if names:
        parts.append(arrow(f"M{middle:g} {y + HEIGHT + 2}V{y + HEIGHT + 21}", GRADIENT))
    return parts


def half(ops, nodes, y: float, arrives: str, leaves: str) -> list[str]:
    """One residual branch: its ops from left to right, the values between them, and the gradients that come back."""
    xs = [LEFT + i * (WIDTH + GAP) for i in range(len(ops))]
    parts = [part for node, x in zip(ops, xs, strict=True) for part in op_box(node, nodes, x, y)]
    for x in [*xs, xs[-1] + WIDTH + GAP]:
        parts += [arrow(f"M{x - GAP + 2:g} {y + 28:g}H{x - 2:g}", VALUE),
                  arrow(f"M{x - 2:g} {y + 50:g}H{x - GAP + 2:g}", GRADIENT)]
    start, end = LEFT - GAP + 4, xs[-1] + WIDTH / 2
    parts += [arrow(f"M{start} {y + 24:g}V{y - 36:g}H{end + 8:g}V{y - 3:g}", VALUE),
              arrow(f"M{end - 8:g} {y - 2:g}V{y - 22:g}H{start + 12}V{y + 44:g}", GRADIENT),
              text(start - 8, y + 33, arrives, 14, VALUE, text_anchor="end"),
              text(start - 8, y + 55, f"{arrives}̄", 14, GRADIENT, text_anchor="end"),
              text(xs[-1] + WIDTH + GAP + 6, y + 33, leaves, 14, VALUE),
              text(xs[-1] + WIDTH + GAP + 6, y + 55, f"{leaves}̄", 14, GRADIENT)]
    return parts


def training_step() -> str:
    """The first block of a real step: forward from left to right, gradients from right to left."""
    ops, nodes = first_block(step())
    cut = next(i for i, node in enumerate(ops) if node.op == "add") + 1
    width = LEFT + cut * (WIDTH + GAP) + 50
    parts = [text(24, 34, "One block of a training step of GPT-2", 16, INK, font_weight="bold"),
             text(24, 55, "batch 2, 8 tokens, width 16; the ops in their plain form", 12, MUTED),
             arrow(f"M{width - 270} 29h30", VALUE), text(width - 232, 33, "values, forward", 12, VALUE),
             arrow(f"M{width - 240} 50h-30", GRADIENT),
             text(width - 232, 54, "gradients, backward", 12, GRADIENT),
             *half(ops[:cut], nodes, 118, "x", "z"), *half(ops[cut:], nodes, 338, "z", "y")]
    return picture(width, 506, "One block of a training step of GPT-2", parts)


PICTURES = {"package.svg": package, "training-step.svg": training_step}


def main(arguments: list[str]) -> int:
    """Write the pictures, or compare them with the files."""
    for name, draw in PICTURES.items():
        path, drawn = REPOSITORY / "docs" / name, draw()
        if "--check" in arguments:
            if not path.is_file() or path.read_text(encoding="utf-8") != drawn:
                print(f"error: stale picture (docs/{name}): the code or docs/architecture.md says something else; "
                      "run `python docs/draw.py`", file=sys.stderr)
                return 1
            print(f"docs/{name} is up to date")
        else:
            path.write_text(drawn, encoding="utf-8")
            print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
