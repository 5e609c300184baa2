"""The test set of today's text messages is what its page says."""

from collections import Counter
from pathlib import Path

import pytest

from tinygrad_gpt.data.classification import normalise

FOLDER = Path(__file__).parent
ROWS = [line.split("\t") for line in (FOLDER / "messages_2026.tsv").read_text(encoding="utf-8").splitlines()]


def test_it_has_150_texts_of_each_class_and_none_twice():
    assert ROWS[0] == ["label", "kind", "text"]
    assert all(len(row) == 3 for row in ROWS)
    assert Counter(row[0] for row in ROWS[1:]) == {"spam": 150, "ham": 150}
    assert len({normalise(row[2]) for row in ROWS[1:]}) == 300
    assert all(3 <= len(row[2]) <= 300 for row in ROWS[1:])


def test_its_page_counts_the_kinds():
    page = (FOLDER / "messages_2026.md").read_text(encoding="utf-8")
    kinds = Counter((label, kind) for label, kind, _ in ROWS[1:])
    counted = [tuple(cell.strip() for cell in line.strip("|").split("|"))
               for line in page.splitlines() if line.startswith(("| spam", "| ham"))]
    assert {(label, kind): int(rows) for label, kind, rows in counted} == kinds


@pytest.mark.parametrize("kind", ["otp", "bank-notice", "parcel-delivery", "appointment", "family"])
def test_harmless_look_alikes_are_there(kind):
    assert sum(label == "ham" and row_kind == kind for label, row_kind, _ in ROWS[1:]) >= 9
