"""docs/book.md and the tests of this folder name one another."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "book.md").read_text(encoding="utf-8")


def test_the_page_lists_every_test_of_a_chapter_and_no_other():
    kinds = ("chapter_*", "appendix_*", "listings_*", "book_training")
    files = [path for kind in kinds for path in FOLDER.glob(f"test_{kind}.py")]
    tests = [name for file in files
             for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)]
    assert len(tests) > 50
    assert sorted(re.findall(r"`(test_\w+)`", PAGE)) == sorted(tests)
