"""Some tests draw at random: a few thousand times as a rule, and far more before a release.

    TINYGRAD_GPT_SOAK=1 nice -n 19 python -m pytest tests/ops/test_sweep.py tests/checkpoints tests/text
"""

import os

SOAK = os.environ.get("TINYGRAD_GPT_SOAK", "") not in ("", "0")


def times(full: int, soak: int) -> int:
    """How often to draw: ``full`` in every run of the tests, ``soak`` before a release."""
    return soak if SOAK else full
