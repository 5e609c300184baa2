"""An exercise made from the code of an op: its forward pass as it is, its pullbacks empty, nothing of a solution."""

import ast
import inspect
import linecache
import re
import textwrap
from collections.abc import Callable

from tinygrad_gpt.course.exercises import EXERCISES, Exercise
from tinygrad_gpt.study.cases import Rule
from tinygrad_gpt.study.show import called_functions

__all__ = ["blank_text", "load"]

HEAD = '''\
"""Exercise {number} of {count}: {name}, {points} points.

{task}

Replace each `raise NotImplementedError` by the gradient: `g` is the gradient of the result, and has its shape; return
a new array of the argument's shape and dtype. Use `xp` as you would use numpy. Leave the forward pass as it is; you may
give names to parts of it. Then run `course check {name}`.
"""
'''


LAYER_HEAD = '''\
"""Exercise {number} of {count}: {name}, {points} points.

{task}

Replace `raise NotImplementedError` by the forward pass. The arguments are Tensors: compute with operators and functions
of `ops`, such as `ops.linear(x, weight, bias)`, and the tape has the gradient. Then run `course check {name}`.
"""
'''


def blank_text(each: Exercise) -> str:
    """The file that a student starts with."""
    if each.is_layer:
        return _blank_layer(each)
    function = each.op.function
    helpers = [f for f in called_functions(function) if not f.__name__.startswith(("check_", "_check"))]
    parts = [_source(f) for f in helpers[::-1]] + [_emptied(function)]
    code = "\n\n\n".join(parts)
    constants = _constants((*helpers, function), code)
    task = textwrap.fill(each.task, 118)
    head = HEAD.format(number=each.number, count=len(EXERCISES), name=each.name, points=each.points, task=task)
    return "\n".join([head, "import math\n", *constants, *([""] if constants else []), "", code.lstrip("\n")]) + "\n"


def _blank_layer(each: Exercise) -> str:
    head = LAYER_HEAD.format(number=each.number, count=len(EXERCISES), name=each.name, points=each.points,
                             task=textwrap.fill(each.task, 118))
    docstring = textwrap.indent(f'"""{inspect.cleandoc(each.op.__doc__ or "")}\n"""', "    ",
                                lambda line: bool(line.strip()))
    return "\n".join([head, "import math\n\nimport numpy as np\n\n",
                      f"def {each.name}(ops, {', '.join(each.op.arguments)}):", docstring,
                      '    raise NotImplementedError("the forward pass")\n'])


def load(text: str, name: str, filename: str) -> Rule:
    """The function of a text that this package made; its source can be inspected."""
    namespace: dict = {"__name__": filename}
    exec(compile(text, f"<{filename}>", "exec"), namespace)
    linecache.cache[f"<{filename}>"] = (len(text), None, text.splitlines(keepends=True), f"<{filename}>")
    return namespace[name]


def _source(function: Callable) -> str:
    return textwrap.dedent(inspect.getsource(function)).rstrip()


def _constants(functions, code: str) -> list[str]:
    """The lines of their modules that define the numbers which the code names."""
    names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    lines = {line for f in functions for line in inspect.getsource(inspect.getmodule(f)).splitlines()  # type: ignore[arg-type]
             if (match := re.match(r"([A-Z_0-9]+) = [^(\[{]*(\(.*\))?$", line)) and match[1] in names}
    return sorted(lines)


def _emptied(function: Callable) -> str:
    """The function without its decorator, its gradients, and the lines that only they need."""
    tree: ast.FunctionDef = ast.parse(_source(function)).body[0]  # type: ignore[assignment]
    lines = _source(function).splitlines()
    docstring, *body = tree.body
    pullbacks = [s for s in body if isinstance(s, ast.FunctionDef)]
    unused = _only_for_gradients(body, pullbacks)
    name = tree.name.rstrip("_")
    signature = "\n".join(lines[tree.lineno - 1:docstring.lineno - 1]).replace(f"def {tree.name}(", f"def {name}(", 1)
    kept = [signature, _docstring(function)]
    previous = docstring.end_lineno or 0
    for statement in body:
        gap = lines[previous:statement.lineno - 1]
        text = lines[statement.lineno - 1:statement.end_lineno]
        previous = statement.end_lineno or 0
        if statement in unused:
            continue
        kept += [line for line in gap if not line.strip()] or [""] * isinstance(statement, ast.FunctionDef)
        kept += _empty(statement) if isinstance(statement, ast.FunctionDef) else text
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept))


def _empty(pullback: ast.FunctionDef) -> list[str]:
    what = pullback.name.removeprefix("grad_")
    said = ("a tuple of the gradients of all arguments, None for what has no gradient" if what == "grads"
            else f"the gradient of {what}")
    return [f"    def {pullback.name}(g):", f'        raise NotImplementedError("{said}")']


def _docstring(function: Callable) -> str:
    """Its first sentence, Forward and Shapes."""
    text = inspect.cleandoc(function.__doc__ or "")
    fields = re.split(r"^(Forward|Gradient|Shapes|Saves|Source):", text, flags=re.MULTILINE)
    said = dict(zip(fields[1::2], fields[2::2], strict=True))
    lines = [fields[0].strip(), "", *(f"{name}:{said[name].rstrip()}" for name in ("Forward", "Shapes"))]
    return textwrap.indent('"""' + "\n".join(lines) + '\n"""', "    ", lambda line: bool(line.strip()))


def _only_for_gradients(body: list[ast.stmt], pullbacks: list[ast.FunctionDef]) -> list[ast.stmt]:
    """The statements whose names nothing but the pullbacks, and other such statements, use."""
    unused: list[ast.stmt] = []
    while True:
        rest = [s for s in body if s not in unused and s not in pullbacks]
        used = {n.id for s in rest for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        more = [s for s in rest if isinstance(s, ast.Assign) and not used & {
            n.id for t in s.targets for n in ast.walk(t) if isinstance(n, ast.Name)}]
        if not more:
            return unused
        unused += more
