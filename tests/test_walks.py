"""Every function that docs/walks.md names is defined in the file beside it."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "walks.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| `([^`]+\.py)` \| `([^`]+)` \|", PAGE, flags=re.MULTILINE)


def functions(tree, prefix=""):
    """The names of the functions of a module or class, those of a class with its name before them."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{node.name}.")


@pytest.mark.parametrize(("file", "function"), STEPS)
def test_a_function_of_the_walk_is_where_the_page_says(file, function):
    source = (REPOSITORY / "tinygrad_gpt" / file).read_text(encoding="utf-8")
    assert function in set(functions(ast.parse(source)))


def test_every_row_of_the_page_is_read():
    assert len(STEPS) == PAGE.count("\n| `")


def test_every_other_file_that_the_page_names_exists():
    for file in re.findall(r"\(`([\w/]+\.py)`\)", PAGE):
        assert (REPOSITORY / "tinygrad_gpt" / file).is_file(), file
