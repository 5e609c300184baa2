"""The listings of this folder, as they are run: only their import lines differ from a program for PyTorch."""

import re

import pytest
from listings import FOLDER, rewritten

LISTINGS = sorted(FOLDER.glob("*.py"))


def test_every_chapter_with_code_for_pytorch_has_its_listings():
    assert [path.stem for path in LISTINGS] == [
        *(f"appendix_{letter}" for letter in "ade"), *(f"chapter_{number}" for number in range(2, 8))]


@pytest.mark.parametrize("path", LISTINGS, ids=lambda path: path.stem)
def test_only_import_lines_change(path):
    theirs = path.read_text(encoding="utf-8").splitlines()
    ours = rewritten(path.read_text(encoding="utf-8"), "tinygrad_gpt").splitlines()
    changed = [(before, after) for before, after in zip(theirs, ours, strict=True) if before != after]
    assert changed
    assert all(re.match("(import|from) ", line) for pair in changed for line in pair)
    imported = [line.split()[1].split(".")[0] for line in ours if re.match(r"\s*(import|from) ", line)]
    assert not {"torch", "tiktoken", "gpt_download"} & set(imported)
