"""The table of derivatives: what the ops' docstrings say, as data and as a page."""

import inspect
import re
import sys
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import default_backend, is_integer
from tinygrad_gpt.engine import OPS, Op, Tensor, using_ops
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.study.gradcheck import Draw, split_sample
from tinygrad_gpt.study.show import called_functions, numbered_source, place
from tinygrad_gpt.terminal import aligned

__all__ = ["FIELDS", "Derivative", "derivative", "lecture", "page", "saved_by"]

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
| `⊙` | product element by element; `/`, powers and functions work in the same way |
| `a b`, `aᵀ` | in matmul and attention matrix product and transpose, elsewhere product element by element |
| `Σ` | sum along the op's axis; in a gradient over the axes that the argument does not have |
| `[a > b]` | 1 where the condition holds, 0 elsewhere |
| `(..., C)` | shape: any number of axes, then one of size `C`; `(broadcast)`: NumPy's rules for shapes |
| `->` | from the shapes of the arguments to the shape of the result |
| Saves | the arrays kept from the forward pass until the gradient has been computed, if every argument needs one |
| Fast | what the tuned form keeps instead; in brackets the bytes of the two on the op's largest sample in float32 |
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
    return f"\n### {d.op}\n\n{d.summary}\n\n```text\n{d.definition()}{_fast_line(OPS[d.op])}\n```"


def _fast_line(op):
    """What the fast form saves beside what the plain one does, as one more line; empty without a fast form."""
    if op.fast is None:
        return ""
    plain, fast = (saved_by(op, form) for form in ("plain", "fast"))
    return (f"\nFast:     {', '.join(fast) or 'nothing'} ({sum(fast.values()):,} bytes; "
            f"plain {sum(plain.values()):,})")


def lecture(op: Op) -> str:
    """One op for the blackboard: its fields, its code with the pullbacks, all that it calls, and its other forms."""
    d = derivative(op)
    parts = [f"{d.op}  ({place(op.function)})\n{d.summary}\n\n{d.definition()}",
             numbered_source(op.function, below_docstring=True)]
    if helpers := called_functions(op.function):
        parts.append("It calls:\n\n" + "\n\n".join(map(numbered_source, helpers)))
    if op.composed is not None:
        parts.append(f"The same in simpler ops ({place(op.composed)}):\n\n{numbered_source(op.composed)}")
    return "\n\n".join([*parts, _forms(op)])


def _forms(op):
    """A table of an op's forms: where each is, and what it saves of the op's largest sample."""
    rows = [("form", "saves", "bytes", "defined in")]
    for name in op.available(default_backend()):
        saved = saved_by(op, name)
        rows.append((name, " ".join(saved) or "nothing", f"{sum(saved.values()):,}",
                     place(op.form(default_backend(), name).function)))
    if op.cuda is not None and default_backend().launch is None:
        rows.append(("cuda", "", "", place(op.cuda.function)))
    return "\n".join(["Its forms, and what each saves of the op's largest sample in float32:", "",
                      *aligned(rows, "<<><")])


def saved_by(op: Op, form: str) -> dict[str, int]:
    """What a form of an op saves of the op's largest sample in float32: bytes by name, arguments included.

    Args:
        form: as in `using_ops`.
    """
    arguments, settings = max(map(split_sample, op.samples(Draw())), key=lambda sample: sum(map(np.size, sample[0])))
    tensors = [Tensor(a.astype(np.float32), requires_grad=True) if hasattr(a, "dtype") and not is_integer(a.dtype)
               else a for a in arguments]
    with using_ops(form):
        pullbacks = op(*tensors, **settings).node.pullbacks  # type: ignore[union-attr]
    saved: dict[str, int] = {}
    for name, array in saved_arrays(pullbacks).items():
        saved[name.split("[")[0]] = saved.get(name.split("[")[0], 0) + array.nbytes
    return saved
