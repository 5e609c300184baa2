"""Benchmarks: `python benchmarks/NAME.py` or `python -m benchmarks.NAME`, from the repository's folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # they import each other by their plain names, as scripts do
