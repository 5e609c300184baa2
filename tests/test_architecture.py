"""The layer table in docs/architecture.md holds: no import that it does not allow, no side door."""

import ast
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "tinygrad_gpt"
HEAVY = {"h5py", "tiktoken", "tokenizers", "matplotlib", "scipy", "tqdm", "safetensors", "requests", "platformdirs",
         "psutil", "openpyxl", "pyarrow"}
IN_CLI_TOP = {"click", "tinygrad_gpt.cli", "tinygrad_gpt.errors", "tinygrad_gpt.terminal", "tinygrad_gpt.__version__"}
FRONT = ("cli", "__main__.py")  # what may talk to the terminal


def read_table(page):
    """{unit: level} from the rows `| L2 | `ops/` `text/` | ... |`; a unit is a file or folder of the package."""
    rows = re.findall(r"^\| L(\d+) \|([^|]*)\|", page, flags=re.MULTILINE)
    return {unit.rstrip("/"): int(level) for level, cell in rows for unit in re.findall(r"`([^`]+)`", cell)}


def units(package):
    """The files and folders of a package that hold code."""
    return {p.relative_to(package).parts[0] for p in package.rglob("*.py")}


def imported(node):
    """The dotted names an import statement (or a call of import_module with a constant) asks for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and called(node).split(".")[-1] in ("import_module", "__import__"):
        return [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
    return []


def called(node):
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def at_import_time(tree):
    """Every node that runs when the module is imported: not functions, and not what only type checkers read."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            todo.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))


def check_layers(unit, name, levels):
    """Why `unit` may not import the dotted `name`, or None."""
    parts = name.split(".")
    if name.startswith("."):
        return f"relative import of {name}"
    if parts[0] != "tinygrad_gpt" or parts[1:] == ["__version__"]:
        return None
    target = next((u for u in (parts[1], f"{parts[1]}.py") if u in levels), None) if len(parts) > 1 else None
    if target is None:
        return f"imports {name}, which is not a module of the table"
    here, there = levels[unit], levels[target]
    if unit == target or there < here or here == there <= 1:
        return None
    return f"L{here} imports {target} of L{there}"


def check_side_doors(unit, node):
    """Why `unit` may not hold this piece of code, or None."""
    if unit != "backend" and (
        any(n.split(".")[0] == "cupy" for n in imported(node)) or (isinstance(node, ast.Name) and node.id == "cupy")
    ):
        return "names cupy"
    if unit != "ops" and isinstance(node, ast.FunctionDef):
        decorators = [called(d) or ast.unparse(d) for d in node.decorator_list]
        if any(d.split(".")[-1] == "op" for d in decorators):
            return f"defines the op {node.name}"
    if unit not in FRONT:
        if called(node) in ("print", "exit", "quit", "sys.exit", "os._exit", "SystemExit", "sys.stdout.write",
                            "sys.stderr.write"):
            return f"calls {called(node)}"
        if any(n.split(".")[0] == "click" for n in imported(node)):
            return "imports click"
    return None


def check_start_up(unit, name):
    """Why `unit` may not import `name` at its top, or None."""
    root = name.split(".")[0]
    if root in HEAVY:
        return f"imports {root} at its top"
    if unit in ("cli", "__init__.py", "__main__.py") and root not in sys.stdlib_module_names and not any(
        f"{name}.".startswith(f"{allowed}.") for allowed in IN_CLI_TOP
    ):
        return f"imports {name} at its top"
    return None


def violations(package, levels):
    """One line `file:line: why` for everything in the package that the rules forbid."""
    found = []
    for path in sorted(package.rglob("*.py")):
        unit = path.relative_to(package).parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            whys = [check_layers(unit, name, levels) for name in imported(node)] + [check_side_doors(unit, node)]
            found += [f"{path.relative_to(package)}:{node.lineno}: {why}" for why in whys if why]
        for node in at_import_time(tree):
            whys = [check_start_up(unit, name) for name in imported(node)]
            found += [f"{path.relative_to(package)}:{node.lineno}: {why}" for why in whys if why]
    return found


@pytest.fixture(scope="module")
def levels():
    return read_table((REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_every_module_stands_in_the_table(levels):
    assert units(PACKAGE) - set(levels) == set()


def test_every_name_in_the_table_exists(levels):
    assert set(levels) - units(PACKAGE) == set()


def test_the_package_keeps_the_rules(levels):
    assert violations(PACKAGE, levels) == []


# -- the checker itself: each rule, broken in a small package --------------------------------------------------------

TABLE = """
| level | modules | what |
|---|---|---|
| L0 | `errors.py` `backend/` | x |
| L1 | `engine/` | x |
| L2 | `ops/` `text/` | x |
| L7 | `cli/` | x |
| L8 | `__init__.py` `__main__.py` | `nothing` |
"""


@pytest.mark.parametrize(("path", "code", "expected"), [
    ("text/a.py", "from tinygrad_gpt.cli import main", ["text/a.py:1: L2 imports cli of L7"]),
    ("text/a.py", "def f():\n    import tinygrad_gpt.cli.lazy", ["text/a.py:2: L2 imports cli of L7"]),
    ("text/a.py", "from tinygrad_gpt import cli", ["text/a.py:1: L2 imports cli of L7"]),
    ("text/a.py", "m = import_module('tinygrad_gpt.cli')", ["text/a.py:1: L2 imports cli of L7"]),
    ("text/a.py", "from tinygrad_gpt.ops import exp", ["text/a.py:1: L2 imports ops of L2"]),
    ("text/a.py", "from tinygrad_gpt import Tensor",
     ["text/a.py:1: imports tinygrad_gpt.Tensor, which is not a module of the table"]),
    ("text/a.py", "import tinygrad_gpt", ["text/a.py:1: imports tinygrad_gpt, which is not a module of the table"]),
    ("text/a.py", "from .b import c", ["text/a.py:1: relative import of .b.c"]),
    ("text/a.py", "from tinygrad_gpt.text.b import c\nfrom tinygrad_gpt.errors import DataError", []),
    ("errors.py", "from tinygrad_gpt.engine.tape import Node", ["errors.py:1: L0 imports engine of L1"]),
    ("backend/a.py", "from tinygrad_gpt.errors import BackendError", []),
    ("engine/a.py", "from tinygrad_gpt.engine.tape import Node", []),
    ("text/a.py", "def f():\n    import cupy.cuda", ["text/a.py:2: names cupy"]),
    ("text/a.py", "def f(cupy):\n    return cupy.zeros(3)", ["text/a.py:2: names cupy"]),
    ("text/a.py", "def f():\n    importlib.import_module('cupy')", ["text/a.py:2: names cupy"]),
    ("backend/a.py", "def f():\n    import cupy", []),
    ("text/a.py", "'''cupy in a docstring'''", []),
    ("text/a.py", "@op(samples=1)\ndef f(xp, x): pass", ["text/a.py:2: defines the op f"]),
    ("text/a.py", "@engine.op\ndef f(xp, x): pass", ["text/a.py:2: defines the op f"]),
    ("ops/a.py", "@op(samples=1)\ndef f(xp, x): pass", []),
    ("text/a.py", "def f():\n    print(1)", ["text/a.py:2: calls print"]),
    ("text/a.py", "def f():\n    sys.exit(1)", ["text/a.py:2: calls sys.exit"]),
    ("text/a.py", "def f():\n    raise SystemExit(1)", ["text/a.py:2: calls SystemExit"]),
    ("text/a.py", "def f():\n    import click", ["text/a.py:2: imports click"]),
    ("cli/a.py", "import click\nprint(1)", []),
    ("text/a.py", "import h5py", ["text/a.py:1: imports h5py at its top"]),
    ("text/a.py", "if True:\n    from scipy.special import erf", ["text/a.py:2: imports scipy at its top"]),
    ("text/a.py", "if TYPE_CHECKING:\n    import h5py\nelse:\n    import scipy",
     ["text/a.py:4: imports scipy at its top"]),
    ("text/a.py", "if TYPE_CHECKING:\n    from tinygrad_gpt.cli import main", ["text/a.py:2: L2 imports cli of L7"]),
    ("text/a.py", "import numpy as np\ndef f():\n    import h5py", []),
    ("cli/a.py", "import numpy as np", ["cli/a.py:1: imports numpy at its top"]),
    ("cli/a.py", "from tinygrad_gpt.text import a", ["cli/a.py:1: imports tinygrad_gpt.text.a at its top"]),
    ("cli/a.py", "def f():\n    from tinygrad_gpt.text import a\n    import numpy", []),
    ("cli/a.py", "from tinygrad_gpt import __version__\nfrom tinygrad_gpt.cli.b import c\nimport os.path", []),
    ("__init__.py", "from tinygrad_gpt.engine import Tensor",
     ["__init__.py:1: imports tinygrad_gpt.engine.Tensor at its top"]),
])
def test_the_checker_sees(path, code, expected, tmp_path):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)
    assert violations(tmp_path, read_table(TABLE)) == expected


def test_the_table_is_read_by_its_second_column():
    assert read_table(TABLE) == {
        "errors.py": 0, "backend": 0, "engine": 1, "ops": 2, "text": 2, "cli": 7,
        "__init__.py": 8, "__main__.py": 8,
    }


def test_units_are_files_and_folders_with_code(tmp_path):
    for name in ("a.py", "b/c.py", "d/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert units(tmp_path) == {"a.py", "b"}
