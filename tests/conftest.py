"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data sets (`TINYGRAD_GPT_DATA`, or `../shared/data` beside the checkout)."""
    folder = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the data sets are not here: {folder} (set TINYGRAD_GPT_DATA)")
    return folder
