"""Each error can be caught as a TinygradError and as the built-in exception that a Python programmer expects."""

import pytest

from tinygrad_gpt import errors
from tinygrad_gpt.errors import TinygradError, listed

EXPECTED = {
    "ShapeError": (ValueError, 1), "DTypeError": (TypeError, 1), "BackendError": (RuntimeError, 1),
    "TapeError": (RuntimeError, 1), "DataError": (ValueError, 1), "CheckpointError": (ValueError, 1),
    "UsageError": (ValueError, 2), "NonFiniteError": (ArithmeticError, 3), "ResourceError": (OSError, 4),
    "ParallelError": (RuntimeError, 1),
}


def test_the_table_has_every_error():
    assert {*EXPECTED, "TinygradError", "listed"} == set(errors.__all__)
    assert TinygradError.exit_code == 1


@pytest.mark.parametrize("name", EXPECTED)
def test_built_in_and_exit_code(name):
    kind, (built_in, exit_code) = getattr(errors, name), EXPECTED[name]
    assert issubclass(kind, TinygradError)
    assert issubclass(kind, built_in)
    assert kind.exit_code == exit_code
    assert str(kind("what (where): why; try")) == "what (where): why; try"


def test_names_are_listed_as_far_as_there_is_room():
    assert listed(["wte", "wpe"]) == "wte, wpe"
    assert listed(["wte", "wpe", "ln_f"], room=8) == "wte, wpe and 1 more"
    assert listed(["x" * 1000, "y"], room=10) == "xxxxxxxxx… and 1 more"
    assert listed(map(str, range(15_000)), "; ", room=9) == "0; 1; 2 and 14,997 more"
    assert listed([]) == ""
