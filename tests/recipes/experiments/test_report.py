"""The report on experiments."""

import base64
import re

import pytest

from tinygrad_gpt.book.experiments import ROWS
from tinygrad_gpt.errors import ResourceError
from tinygrad_gpt.recipes.experiments.experiments import ExperimentsConfig, Measured, Result
from tinygrad_gpt.recipes.experiments.report import (
    REPORT_FILES,
    Picture,
    Table,
    bag_of_words,
    result_table,
    to_html,
    to_markdown,
    write_report,
)


def measured(seed=123, test=0.9, words=(0.98, (0.957, 0.991))):
    return Measured(seed, 0.99, 0.97, test, (0.86, 0.93), 90.0, 1_254_000, 250_000_000, 7_000, words, "a machine",
                    "new texts will fare worse than the test texts: 3 of them are known")


RESULTS = [
    Result(ROWS[0], ROWS[0], [measured(1, 0.9), measured(2, 0.94)], []),
    Result(ROWS[7], ROWS[0], [measured(words=None)], []),
    Result(ROWS[9], ROWS[9], [], [ResourceError("cannot train (memory): it takes about 2.5 GB; buy <more>")]),
]
CONFIG = ExperimentsConfig("data/sms.tsv", "models/gpt2", seeds=(1, 2))


def test_the_table_has_our_figures_beside_the_reference_s():
    table = result_table(RESULTS, CONFIG.base)
    assert {len(table.header), *map(len, table.rows)} == {16}
    first, xl, random, words = table.rows
    assert first == ("1", "last block trained", "gpt2", "99.00", "97.00", "92.00", "66.59 to 100.00", "1.50",
                     "1,254,000", "250", "7,000", "gpt2", "96.63", "99.33", "95.00", "0.28")
    assert xl[2:7] == ("gpt2", "99.00", "97.00", "90.00", "86.00 to 93.00")
    assert random[2:] == ("not run", *["–"] * 8, "random", "100.00", "96.64", "93.67", "0.69")
    assert words[5:7] == ("98.00", "95.70 to 99.10")
    assert len(result_table(RESULTS[1:], CONFIG.base).rows) == 2
    assert bag_of_words(RESULTS[1:]) is None


def test_both_reports_say_the_same_and_what_is_not_comparable(tmp_path):
    write_report(tmp_path, CONFIG, RESULTS)
    assert {path.name for path in tmp_path.iterdir()} == set(REPORT_FILES)
    markdown, page = ((tmp_path / name).read_text() for name in ("report.md", "report.html"))
    for text in ("sms.tsv", "Base: gpt2. Seeds: 1, 2. Epochs: 5. Learning rate: 5e-05.", "a machine", "92.00",
                 "Of row 8 they are of another model than gpt2", "Student&#x27;s t over 2 seeds", "66.59 to 100.00",
                 "On one base it is the same run as row 1.", "99.81 for validation", "padding", "Not run",
                 "New texts will fare worse than the test texts: 3 of them are known.",
                 "Row 10: cannot train (memory): it takes about 2.5 GB; buy &lt;more&gt;"):
        assert text in page
        assert text.replace("&#x27;", "'").replace("&lt;", "<").replace("&gt;", ">") in markdown
    for name in ("accuracy.png", "minutes.png"):
        assert f"({name})" in markdown
        assert base64.b64encode((tmp_path / name).read_bytes()).decode() in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing is fetched


def test_markdown_and_html_of_every_piece(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    pieces = ["# A & B", Table(["x", "y|z"], [["1", "<2>"]]), ["one", "two"], Picture(tmp_path / "a.png", "a \"b\""),
              "## End", "text"]
    assert to_markdown(pieces) == ("# A & B\n\n| x | y\\|z |\n| --- | --- |\n| 1 | <2> |\n\n- one\n- two\n\n"
                                   "![a \"b\"](a.png)\n\n## End\n\ntext\n")
    page = to_html(pieces)
    for part in ("<title>A &amp; B</title>", "<h1>A &amp; B</h1>", "<th>y|z</th>", "<td>&lt;2&gt;</td>",
                 "<ul>\n<li>one</li>\n<li>two</li>\n</ul>",
                 '<img alt="a &quot;b&quot;" src="data:image/png;base64,cG5n">',
                 "<h2>End</h2>", "<p>text</p>"):
        assert part in page


@pytest.mark.parametrize("results", [RESULTS[2:], RESULTS[1:2]])
def test_a_report_of_few_runs(results, tmp_path):
    write_report(tmp_path, ExperimentsConfig("sms", "absent"), results)
    assert "Wilson's, for one run" in (tmp_path / "report.md").read_text()
