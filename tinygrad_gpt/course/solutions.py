"""The solutions of the exercises, made from the code of the ops; nothing of this is in a student's folder."""

import ast
import inspect
import textwrap

from tinygrad_gpt.course import layers
from tinygrad_gpt.course.blanks import blank_text
from tinygrad_gpt.course.exercises import Exercise

__all__ = ["right_bodies", "solution", "with_pullbacks"]

UNWRITTEN = "raise NotImplementedError("


def solution(each: Exercise) -> str:
    """The file of an exercise, solved as the package's op or layer is."""
    if each.is_layer:
        body = inspect.getsource(getattr(layers, each.name)).split('"""')[2]
        return blank_text(each).partition(f"    {UNWRITTEN}")[0] + body.lstrip("\n")
    return with_pullbacks(each, right_bodies(each))


def with_pullbacks(each: Exercise, bodies: dict[str, str]) -> str:
    """The text of an exercise with these bodies in its pullbacks, by their names; the others stay unwritten."""
    lines, inside = [], ""
    for line in blank_text(each).splitlines():
        if line.startswith("    def "):
            inside = line.split("(")[0].removeprefix("    def ")
        if UNWRITTEN in line and inside in bodies:
            lines.append(textwrap.indent(textwrap.dedent(bodies[inside]).strip(), " " * 8))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def right_bodies(each: Exercise) -> dict[str, str]:
    """The bodies of the op's own pullbacks, each with the names that only pullbacks need."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(each.op.function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    given = {node.id for node in ast.walk(ast.parse(blank_text(each)))
             if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    dropped = [ast.unparse(statement) for statement in tree.body if isinstance(statement, ast.Assign)
               and not given.issuperset(node.id for target in statement.targets for node in ast.walk(target)
                                        if isinstance(node, ast.Name))]
    return {inner.name: "\n".join([*dropped, *map(ast.unparse, inner.body)]) for inner in tree.body
            if isinstance(inner, ast.FunctionDef)}
