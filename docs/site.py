"""Build the documentation site: `python docs/site.py DIR` writes pages that open from a disk, without a network.

The pages are README.md, docs/, the lessons of course/ with their outputs, and the API from docstrings. They need
`pip install '.[docs]'`. A link that leads nowhere ends the build.
"""

import os
import re
import shutil
import sys
import tempfile
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "helpers")]

from lessons import OUTPUT, cells  # noqa: E402

from tinygrad_gpt import ops  # noqa: E402
from tinygrad_gpt.engine import Op  # noqa: E402
from tinygrad_gpt.figures.mathml import mathml  # noqa: E402
from tinygrad_gpt.study.derivatives import derivative  # noqa: E402

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
DEFINITION = re.compile(r"^```text\n(Forward:.*?)\n```$", re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"^(\w+): +(.*(?:\n {10}.*)*)", re.MULTILINE)
PICTURES = {".png", ".svg"}
LANGUAGES = {".py": "python", ".cu": "cuda", ".cuh": "cuda", ".toml": "toml"}
WITHOUT_API = {"book", "checkpoints", "cli", "course", "figures", "recipes", "runs", "serve", "terminal.py"}
CONTENTS = {
    "Start": ["docs/classification", "docs/instructions", "docs/data-files", "docs/model-folders",
              "docs/serve", "docs/gpu", "docs/parallel", "docs/dask", "docs/pytorch", "docs/glossary"],
    "The course": ["course/README", "docs/course"],
    "Gradients": ["docs/gradients", "docs/derivatives", "docs/seeing", "docs/extending", "docs/fast"],
    "Lessons": [], "Results": ["docs/book", "docs/experiments", "docs/nanogpt", "docs/shipped-classifier",
                               "docs/benchmarks"],
    "API": [], "The house": ["docs/architecture", "docs/walks", "CONTRIBUTING", "docs/style"], "Decisions": []}


def page_of(path: Path) -> str:
    """The page that shows a file or folder of the repository, without its ending."""
    name = path.relative_to(REPOSITORY).as_posix()
    if name == "README.md":
        return "index"
    if path.suffix == ".md" or (name.startswith("course/") and path.suffix == ".py"):
        return name.rsplit(".", 1)[0]
    return f"sources/{name}"


class Pages:
    """The sources of the site, as Markdown in one folder.

    Args:
        folder: where they are written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.written: set[str] = set()

    def write(self, page: str, text: str) -> None:
        """Write one page."""
        path = self.folder / f"{page}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.written.add(page)

    def add(self, path: Path, text: str, more: str = "") -> None:
        """Write the page of a file, with its links led to pages; ``more`` stands behind it."""
        parts = CODE.split(text)
        parts[::2] = [LINK.sub(lambda link: self._link(path, *link.groups("")), part) for part in parts[::2]]
        self.write(page_of(path), "".join(parts) + more)

    def _link(self, path: Path, target: str, anchor: str) -> str:
        found = (path.parent / target).resolve()
        if not found.exists():
            raise SystemExit(f"error: broken link ({path}): {target} does not exist; mend the link")
        if found.suffix in PICTURES:
            copied = self.folder / found.relative_to(REPOSITORY)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, copied)
            return f"]({target})"
        page = page_of(found)
        if page.startswith("sources/"):
            self.add_source(found)
        to = os.path.relpath(self.folder / page, (self.folder / page_of(path)).parent)
        return f"]({Path(to).as_posix()}.md{anchor})"

    def add_source(self, path: Path) -> None:
        """Write the page of a file of code, or of a folder of such files."""
        page, name = page_of(path), path.relative_to(REPOSITORY).as_posix()
        if page in self.written:
            return
        self.written.add(page)
        if path.is_dir():
            files = [f"[{f.name}]({path.name}/{f.name})" if f.suffix == ".md" else f"`{f.name}`"
                     for f in sorted(path.iterdir()) if not f.name.startswith(("_", "."))]
            self.add(path, f"---\norphan: true\n---\n\n# `{name}/`\n\n" + "".join(f"- {file}\n" for file in files))
        else:
            code = path.read_text(encoding="utf-8").replace("````", "``` `")
            self.write(page, f"---\norphan: true\n---\n\n# `{name}`\n\n"
                       f"````{LANGUAGES.get(path.suffix, 'text')}\n{code}\n````\n")


def lesson(source: str) -> str:
    """A lesson as Markdown: its text, its code, and below each cell what it prints."""
    parts = []
    for kind, text in cells(source):
        if kind == "markdown":
            parts.append(text.strip())
            continue
        at = 0
        for printed in OUTPUT.finditer(text):
            lines = "\n".join(line[4:] for line in printed[1].splitlines())
            parts += [_block("python", text[at:printed.start()]), f"```text\n{lines}\n```"]
            at = printed.end()
        parts.append(_block("python", text[at:]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(language, code):
    return f"```{language}\n{code.strip()}\n```" if code.strip() else ""


def formulas(definition: str) -> str:
    """The fields of an op as HTML, in one line: formulas as MathML, which browsers set without a library."""
    items = []
    for name, value in FIELD.findall(definition):
        text = mathml(value) if name in {"Forward", "Gradient"} else escape(" ".join(value.split()))
        items.append(f"<dt>{name}</dt><dd>{text}</dd>")
    return "<dl>" + "".join(items).replace(' display="block"', "").replace("</math>", "</math><br>") + "</dl>"


def api_of_ops() -> str:
    """The page of the ops: signature, summary and fields of each."""
    named = {name: value for name in ops.__all__ if isinstance(value := getattr(ops, name), Op)}
    entries = [f".. py:function:: tinygrad_gpt.ops.{name}{op.__signature__}\n\n   {derivative(op).summary}\n\n"
               f"   .. raw:: html\n\n      {formulas(derivative(op).definition())}\n"
               for name, op in sorted(named.items())]
    return "# tinygrad_gpt.ops\n\n```{eval-rst}\n" + "\n".join(entries) + "```\n"


def api(unit: Path) -> str:
    """The page of a module or package: what its ``__all__`` names, or that of each of its modules."""
    name = f"tinygrad_gpt.{unit.stem}"
    entry = unit / "__init__.py" if unit.is_dir() else unit
    if "__all__" in entry.read_text(encoding="utf-8"):
        modules = [name]
    else:
        modules = [".".join(file.relative_to(REPOSITORY).with_suffix("").parts) for file in sorted(unit.rglob("*.py"))
                   if file.name != "__init__.py"]
    blocks = "\n\n".join(f"```{{eval-rst}}\n.. automodule:: {module}\n```" if len(modules) == 1 else
                         f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```" for module in modules)
    return f"# {name}\n\n{blocks}\n"


def make_pages(folder: Path) -> None:
    """Write the sources of all pages."""
    pages = Pages(folder)
    for path in [*(REPOSITORY / name for name in (
            "CONTRIBUTING.md", "course/README.md", "weights/README.md", "weights/modern_messages.md",
            "tests/data/messages_2026.md")),
                 *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        pages.add(path, DEFINITION.sub(lambda found: formulas(found[1]), text))
    for path in sorted((REPOSITORY / "course").glob("[0-9]*.py")):
        pages.add(path, lesson(path.read_text(encoding="utf-8")))
    for unit in sorted((REPOSITORY / "tinygrad_gpt").iterdir()):
        is_module = unit.suffix == ".py" or (unit / "__init__.py").exists()
        if is_module and unit.name not in WITHOUT_API and not unit.name.startswith("_"):
            pages.write(f"api/{unit.stem}", api_of_ops() if unit.name == "ops" else api(unit))
    readme = REPOSITORY / "README.md"
    pages.add(readme, readme.read_text(encoding="utf-8"), contents(pages.written))


def contents(written: set[str]) -> str:
    """The table of contents, hidden in the front page: each page stands in it once."""
    left = {page for page in written if not page.startswith("sources/")}
    lines = []
    for caption, named in CONTENTS.items():
        start = {"Lessons": "course/", "API": "api/", "Decisions": "docs/decisions/"}.get(caption)
        listed = [page for page in named if page in left] or sorted(p for p in left if start and p.startswith(start))
        left -= set(listed)
        lines += ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *listed, "```"]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", ":caption: More", "", *sorted(left), "```", ""])


def build(out: Path) -> int:
    """Build the site in a folder, with every warning an error; returns Sphinx's exit code."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        make_pages(Path(folder) / "pages")
        return build_main(["-q", "-W", "--keep-going", "-j", "auto", "-b", "html", "-c", str(REPOSITORY / "docs"),
                           "-d", str(Path(folder) / "doctrees"), str(Path(folder) / "pages"), str(out)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: usage (docs/site.py): one argument, the folder to write; such as build/site")
    sys.exit(build(Path(sys.argv[1])))
