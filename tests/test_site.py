"""The documentation site: every link leads somewhere, nothing comes from a network, lessons have their outputs."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from chromium import headless, opened, requested
from lessons import LESSONS, quoted

from tinygrad_gpt.engine import OPS

REPOSITORY = Path(__file__).resolve().parents[1]


class Page(HTMLParser):
    """What a page names: its anchors, its links, what a browser loads for it, and its words."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded, self.words = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.anchors.add(named.get("id"))
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        if (address := named.get("src") or (named.get("href") if tag == "link" else None)) is not None:
            self.loaded.append(address)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built once."""
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name, reason="the extra `docs` is not installed")
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run([sys.executable, "docs/site.py", str(out)], cwd=REPOSITORY, capture_output=True,
                           encoding="utf-8", check=False)
    assert (built.returncode, built.stderr) == (0, "")
    return out


@pytest.fixture(scope="module")
def pages(site):
    """Its pages, parsed, by their paths."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def broken(path, page, pages):
    """The links of a page to a file or an anchor that is not there."""
    for link in page.links:
        target, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and file in pages and anchor not in pages[file].anchors):
            yield link


def test_every_link_leads_somewhere(pages):
    assert {str(path): found for path, page in pages.items() if (found := list(broken(path, page, pages)))} == {}


def test_nothing_is_loaded_from_a_network(site, pages):
    assert [address for page in pages.values() for address in page.loaded if re.match(r"(https?:)?//", address)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles) == []


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_shows_what_it_prints(site, pages, lesson):
    shown = "".join(pages[site / "course" / f"{lesson.stem}.html"].words)
    lines = [line for line in quoted(lesson.read_text(encoding="utf-8")).splitlines() if line.strip()]
    assert [line for line in lines if line not in shown] == []
    assert "# prints:" not in shown


@pytest.mark.parametrize(("page", "text"), [
    ("api/engine", "An op of the same name and module is replaced"), ("api/nn", "LayerNorm"),
    ("api/ops", "Gaussian error linear unit"), ("api/optim", "AdamW"), ("docs/gradients", "layer norm")])
def test_a_page_says(site, pages, page, text):
    assert text in "".join(pages[site / f"{page}.html"].words)


@pytest.mark.parametrize("page", ["api/ops", "docs/derivatives"])
def test_formulas_are_set_without_a_library(site, page):
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    assert html.count("<math>") >= 2 * len(OPS)
    assert "<mover><mi>x</mi><mo>¯</mo></mover>" in html


def test_a_browser_reads_and_searches_it_from_disk(site):
    with headless() as browser:
        opened(browser, (site / "search.html").as_uri() + "?q=broadcasting")
        browser.implicitly_wait(10)
        assert browser.find_elements("css selector", "#search-results li a")
        assert [address for address in requested(browser) if address.startswith("http")] == []


def test_the_command_says_what_it_takes():
    told = subprocess.run([sys.executable, "docs/site.py"], cwd=REPOSITORY, capture_output=True, encoding="utf-8",
                          check=False)
    assert (told.returncode, told.stderr) == (1, "error: usage (docs/site.py): one argument, the folder to write; "
                                                 "such as build/site\n")
