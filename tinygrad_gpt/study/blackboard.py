"""Every gradient of GPT-2 on one page: the plain forms of the ops that it uses, as they are in the code."""

import ast
import inspect
import textwrap
from collections.abc import Callable

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.show import called_functions

__all__ = ["GPT2_OPS", "blackboard", "gradients_code"]

GPT2_OPS = ("embedding", "slice", "dropout", "add", "layer_norm", "linear", "self_attention", "bias_gelu",
            "linear_cross_entropy")  # in the order of the model

HEAD = """\
# Every gradient of GPT-2

Each op returns its result and the pullbacks, which map `g`, the gradient of the result, to that of each argument; their
comments are the forward lines that they invert. `xp.scatter` adds to zeros; after `add`, which broadcasts, the engine
sums gradients down. Made by `python cli.py derivatives`; the other ops are in [derivatives.md](derivatives.md).
"""


def blackboard() -> str:
    """The page as Markdown: less than 150 lines."""
    return f"{HEAD}\n```python\n{gradients_code()}\n```\n"


def gradients_code() -> str:
    """The functions as one Python program, which runs on its own: helpers come before the ops that call them."""
    functions: list[Callable] = []
    for name in GPT2_OPS:
        own = OPS[name].function
        functions += [f for f in (*called_functions(own)[::-1], own) if f not in functions and not _checks(f)]
    constants = {name: value for f in functions for name, value in _constants(f).items()}
    head = ["import math", *(f"{name} = {value!r}" for name, value in constants.items())]
    return "\n\n".join(["\n".join(head), *(_on_the_page(f, functions) for f in functions)])


def _checks(function: Callable) -> bool:
    """Whether a function only refuses arguments."""
    return function.__name__.startswith(("check_", "_check"))


def _constants(function: Callable) -> dict[str, float]:
    """The numbers of its module that a function and its pullbacks name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {node.id: function.__globals__.get(node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {name: value for name, value in sorted(names.items()) if isinstance(value, float)}


def _on_the_page(function: Callable, functions: list[Callable]) -> str:
    """A function with the first sentence of its docstring as a comment, without empty lines."""
    source = textwrap.dedent(inspect.getsource(function))
    tree: ast.FunctionDef = ast.parse(source).body[0]  # type: ignore[assignment]
    lines = source.splitlines()
    about = inspect.cleandoc(ast.get_docstring(tree) or "").splitlines()[0]
    body = [line for line in lines[_last_line_of_docstring(tree):] if line.strip()]
    text = "\n".join([f"# {about}", *lines[tree.lineno - 1:tree.body[0].lineno - 1], *body])
    for other in functions:  # the page has no registry
        text = text.replace(f"{other.__name__}.function(", f"{other.__name__}(")
    return text


def _last_line_of_docstring(tree: ast.FunctionDef) -> int:
    return tree.body[0].end_lineno or 0
