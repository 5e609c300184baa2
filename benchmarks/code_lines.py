"""Lines of code that a reader meets: without docstrings, comments and blank lines.

    python benchmarks/code_lines.py [FOLDER ...]

A line counts if a token of code is on it. Without folders: the reader's path, engine, backend and the plain ops,
and beside it the tuned and the CUDA forms.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "tinygrad_gpt"
PATH = ("engine", "backend", "ops")
LIMIT = 1600
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
           tokenize.ENDMARKER}


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
                node, clean=False) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return lines


def count(folder: Path) -> dict[str, int]:
    """Code lines of each file in a folder, not of its subfolders."""
    return {path.name: len(code_lines(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.py"))}


def main(folders: list[str]) -> None:
    """Print the table."""
    for name in folders or (*PATH, "ops/fast", "ops/cuda"):
        files = count(PACKAGE / name)
        print(f"{name}: {sum(files.values())}   {' '.join(f'{file} {lines}' for file, lines in files.items())}")
    if not folders:
        total = sum(sum(count(PACKAGE / name).values()) for name in PATH)
        print(f"the reader's path ({', '.join(PATH)}): {total} (limit {LIMIT})")


if __name__ == "__main__":
    main(sys.argv[1:])
