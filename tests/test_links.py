"""Every link of every page leads to a file, or to a heading, that exists."""

import re
import unicodedata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "weights" / "README.md",
         REPOSITORY / "course" / "README.md",
         *sorted((REPOSITORY / "docs").rglob("*.md"))]


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(page):
    """The targets of a page's links and pictures that are in this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchor(heading):
    """The name that GitHub gives a heading: lower case, hyphens for spaces, no punctuation."""
    text = re.sub(r"[`*]", "", heading).strip().lower()
    kept = "".join(c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN")
    return kept.replace(" ", "-")


def anchors(page):
    """The names of a page's headings; the second of one name ends with -1."""
    names = [anchor(heading) for heading in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)]
    return {name if not (before := names[:i].count(name)) else f"{name}-{before}" for i, name in enumerate(names)}


def broken(page):
    for target in links(page):
        path, _, name = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif name and name not in anchors(file):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_link_leads_somewhere(page):
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading: `code`\n[a](#a-heading-code) [b](other.md) [c](#nothing) [d](https://example.org/x)\n"
                    "```\n[e](absent.md)\n```\n")
    assert list(broken(page)) == ["other.md: no such file", "#nothing: no such heading"]


def test_files_named_in_prose_exist():
    """`tinygrad_gpt/…`, `tests/…` and `benchmarks/…` in backticks name files."""
    for page in PAGES:
        folders = "tinygrad_gpt|tests|benchmarks|course|docs|weights"
        for name in re.findall(rf"`((?:{folders})/[\w./-]+)(?::\w+)?`", prose(page)):
            if page.name != "extending.md" or "greet" not in name:
                assert (REPOSITORY / name).exists(), f"{page.name}: {name}"
