import sys
import threading

import numpy as np
import pytest

from tinygrad_gpt.backend.precision import POLICIES, current_precision, is_half, precision, wide
from tinygrad_gpt.errors import UsageError

BFLOAT16 = POLICIES["bfloat16"].dtype


def test_a_policy_holds_in_its_block_and_thread():
    seen = []
    with precision("tf32"):
        assert current_precision().tf32
        with precision("bfloat16"):
            assert (current_precision().name, current_precision().tf32) == ("bfloat16", False)
        thread = threading.Thread(target=lambda: seen.append(current_precision().name))
        thread.start()
        thread.join()
        assert current_precision().name == "tf32"
    assert (current_precision().name, seen) == ("float32", ["float32"])


def test_a_policy_ends_with_its_block_however_it_ends():
    with pytest.raises(ZeroDivisionError), precision("float16"):
        raise ZeroDivisionError
    assert current_precision().name == "float32"


def test_each_policy_has_the_dtype_of_its_layers():
    assert {name: str(policy.dtype) for name, policy in POLICIES.items()} == {
        "float32": "float32", "tf32": "float32", "bfloat16": "bfloat16", "float16": "float16"}


def test_another_name_is_refused():
    text = "precision is 'int8'; choose one of float32, tf32, bfloat16, float16"
    with pytest.raises(UsageError, match=text), precision("int8"):
        pass


def test_sums_over_halves_are_made_in_float32():
    dtypes = [BFLOAT16, *map(np.dtype, ("float16", "float32", "float64", "int16", "uint16"))]
    assert [is_half(dtype) for dtype in dtypes] == [True, True, False, False, False, False]
    assert [str(wide(dtype)) for dtype in dtypes] == ["float32", "float32", "float32", "float64", "int16", "uint16"]


def test_bfloat16_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UsageError, match="it is not installed; pip install ml_dtypes"):
        assert POLICIES["bfloat16"].dtype
