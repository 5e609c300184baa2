"""The place of the tables in docs/benchmarks.md and other pages."""

import re
from pathlib import Path

__all__ = ["HEADER", "write_section"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEADER = "# Benchmarks\n\nEach section is written by the script it names, run with `--write`.\n"


def write_section(title: str, markdown: str, path: Path = PAGE, of: str = "") -> None:
    """Put `markdown` under the heading `title` of a page, replacing what was there.

    Args:
        title, markdown, path: as above.
        of: the kind of machine; then only what was there of this kind is replaced, under a heading of its own.
    """
    page = path.read_text(encoding="utf-8") if path.exists() else HEADER
    if of:
        _, _, others = _section(page, f"## {title}").partition("\n")
        markdown = _replaced(others, f"### {of}", markdown)
    path.write_text(_replaced(page, f"## {title}", markdown), encoding="utf-8")


def _sections(page: str, heading: str) -> list[str]:
    """The page in pieces, of which each but the first begins with a heading of the level of this one."""
    return re.split(rf"(?m)^(?={heading.partition(' ')[0]} )", page)


def _section(page: str, heading: str) -> str:
    return next((section for section in _sections(page, heading) if section.split("\n")[0] == heading), "")


def _replaced(page: str, heading: str, markdown: str) -> str:
    """The page with this text under the heading, at its end if it has no such heading."""
    sections, new = _sections(page, heading), f"{heading}\n\n{markdown.strip()}\n"
    found = [i for i, section in enumerate(sections) if section.split("\n")[0] == heading]
    sections[found[0] if found else len(sections):] = [new, *(sections[found[0] + 1:] if found else [])]
    return "\n".join(section.strip() + "\n" for section in sections if section.strip())
