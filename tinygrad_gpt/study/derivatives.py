"""The table of derivatives: what the ops' docstrings say, as data and as a page."""

import inspect
import re
import sys
from dataclasses import dataclass

from tinygrad_gpt.engine import OPS, Op
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.study.show import called_functions, numbered_source, place

__all__ = ["FIELDS", "Derivative", "derivative", "lecture", "page"]

FIELDS = ("Forward", "Gradient", "Shapes", "Saves", "Source")

HEAD = """\
# Derivatives

Every op of the engine with its gradient. Made from the ops' docstrings by `python cli.py derivatives`: change the
docstring, not this page. `python cli.py derivatives gelu` shows the code as well, and `python cli.py gradcheck gelu`
compares it with a central difference.

| notation | meaning |
|---|---|
| `y` | the result of the op |
| `x̄`, `ȳ` | gradient of the loss with respect to `x`, to `y`; the pullback computes `x̄` from `ȳ` |
| `⊙` | product element by element; `/`, powers and functions work so, too |
| `a b`, `aᵀ` | in matmul and attention matrix product and transpose, elsewhere product element by element |
| `Σ` | sum along the op's axis; in a gradient over the axes that the argument does not have |
| `[a > b]` | 1 where the condition holds, 0 elsewhere |
| `(..., C)` | shape: any number of axes, then one of size `C`; `(broadcast)`: NumPy's rules for shapes |
| `->` | from the shapes of the arguments to the shape of the result |
| Saves | the arrays kept from the forward pass until the gradient has been computed, if every argument needs one |
"""


@dataclass(frozen=True)
class Derivative:
    """What the docstring of an op says; a field of several lines keeps its line ends."""

    op: str
    summary: str
    forward: str
    gradient: str
    shapes: str
    saves: str
    source: str

    def definition(self) -> str:
        """The five fields as lines of text, names on the left."""
        width = max(map(len, FIELDS)) + 2
        return "\n".join(f"{name + ':':{width}}{getattr(self, name.lower())}".replace("\n", "\n" + " " * width)
                         for name in FIELDS)


def derivative(op: Op) -> Derivative:
    """Read the fields of an op's docstring.

    Raises:
        UsageError: "derivatives (op 'gelu'): …" if there is no docstring (Python ran with -OO) or a field is missing.
    """
    if op.__doc__ is None:
        why = "python -OO removes docstrings; run without it" if sys.flags.optimize > 1 else "it has no docstring"
        raise UsageError(f"derivatives (op '{op.name}'): {why}")
    text = inspect.cleandoc(op.__doc__)
    summary, *parts = re.split(rf"^({'|'.join(FIELDS)}):[ \t]*", text, flags=re.MULTILINE)
    fields = {name: inspect.cleandoc(value) for name, value in zip(parts[::2], parts[1::2], strict=True)}
    missing = [name for name in FIELDS if not fields.get(name)]
    if missing:
        raise UsageError(f"derivatives (op '{op.name}'): its docstring has no {', '.join(missing)}; "
                         f"write one line `{missing[0]}: …`")
    return Derivative(op.name, " ".join(summary.split()), **{name.lower(): fields[name] for name in FIELDS})


def page() -> str:
    """All ops of the package as Markdown, one section per file, in the order in which the files build on each other."""
    files: dict[str, list[Op]] = {}
    for op in OPS.values():
        if op.function.__module__.startswith("tinygrad_gpt.ops."):
            files.setdefault(op.function.__module__, []).append(op)
    contents = [f"- [{_title(module)}](#{_title(module)}): "
                + ", ".join(f"[{op.name}](#{_anchor(module, op)})" for op in ops) for module, ops in files.items()]
    return "\n".join([HEAD, *contents, *(_section(module, ops) for module, ops in files.items())]) + "\n"


def _title(module):
    return module.rsplit(".", 1)[1]


def _anchor(module, op):
    return f"{op.name}-1" if op.name == _title(module) else op.name  # GitHub numbers headings of the same text


def _section(module, ops):
    about = inspect.cleandoc(sys.modules[module].__doc__ or "")
    entries = "\n".join(_entry(derivative(op)) for op in ops)
    return f"\n## {_title(module)}\n\n{about} [Code](../{module.replace('.', '/')}.py)\n{entries}"


def _entry(d):
    return f"\n### {d.op}\n\n{d.summary}\n\n```text\n{d.definition()}\n```"


def lecture(op: Op) -> str:
    """One op for the blackboard: its fields, its code with the pullbacks, the helpers it calls, its composed form."""
    d = derivative(op)
    parts = [f"{d.op}  ({place(op.function)})\n{d.summary}\n\n{d.definition()}",
             numbered_source(op.function, below_docstring=True)]
    if helpers := called_functions(op.function):
        parts.append("It calls:\n\n" + "\n\n".join(map(numbered_source, helpers)))
    if op.composed is not None:
        parts.append(f"The same in simpler ops:\n\n{numbered_source(op.composed)}")
    return "\n\n".join(parts)
