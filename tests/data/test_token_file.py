"""Tokens in a file: mapped, never changed, never taken for another's."""

import numpy as np
import pytest

from tinygrad_gpt.data.token_file import open_tokens, save_tokens
from tinygrad_gpt.errors import DataError


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("n", [0, 1, 5000])
def test_what_was_saved_is_mapped(dtype, n, tmp_path):
    tokens = np.arange(n).astype(dtype)
    digest = save_tokens(tmp_path / "tokens.npy", tokens)
    mapped = open_tokens(tmp_path / "tokens.npy", digest)
    assert mapped.dtype == dtype
    np.testing.assert_array_equal(mapped, tokens)
    assert not mapped.flags.writeable
    assert isinstance(mapped, np.memmap)


def test_every_damage_is_noticed(tmp_path):
    path = tmp_path / "tokens.npy"
    digest = save_tokens(path, np.arange(20, dtype=np.uint16))
    data = path.read_bytes()
    for i in range(len(data)):
        for damaged in (data[:i], data[:i] + bytes([data[i] ^ 16]) + data[i + 1:]):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=r"tokens\.npy\): its sha256 is .*: the file is damaged; start"):
                open_tokens(path, digest)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the tokens \(.*tokens\.npy\): no such file or directory; "):
        open_tokens(tmp_path / "tokens.npy", "")
