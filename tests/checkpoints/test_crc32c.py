"""CRC-32C is that of the standard, however long the data are."""

import numpy as np
import pytest
from tensorflow_checkpoint import crc32c as byte_by_byte

from tinygrad_gpt.checkpoints.crc32c import FAR, NEAR, NEARER, crc32c, masked_crc32c


@pytest.mark.parametrize(("data", "expected"), [  # RFC 3720, appendix B.4
    (b"\0" * 32, 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283),
    (b"", 0)])
def test_published_values(data, expected):
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [1, 3, 4, 5, 255, 256, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4099,
                                    70_001, 118_936, 118_937, 177_137, 300_002])
def test_every_cut_into_lanes_gives_the_checksum_of_single_bytes(length):
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8)
    assert crc32c(data) == crc32c(data.tobytes()) == byte_by_byte(data.tobytes())


def test_four_terms_far_apart_are_a_multiple_of_the_polynomial():
    words = np.zeros((4, FAR + 1), np.uint32)
    for row, exponent in zip(words, (FAR, NEAR, NEARER, 0), strict=True):
        row[FAR - exponent] = 1
    zero = crc32c(np.zeros(4 * FAR + 4, np.uint8))
    checksums = [crc32c(row.view(np.uint8)) ^ zero for row in words]
    assert checksums[0] ^ checksums[1] ^ checksums[2] ^ checksums[3] == 0
    assert 0 not in checksums


def test_the_checksum_of_long_data_is_linear():
    length = 4_194_381
    one, other = np.random.default_rng(0).integers(0, 256, (2, length), np.uint8)
    assert crc32c(one) ^ crc32c(other) ^ crc32c(one ^ other) == crc32c(np.zeros(length, np.uint8))
    assert crc32c(one) != crc32c(other)


def test_a_flipped_bit_shows_in_each_lane():
    data = np.random.default_rng(0).integers(0, 256, 5000, np.uint8)
    before = crc32c(data)
    for at in range(0, 5000, 97):
        data[at] ^= 1 << at % 8
        assert crc32c(data) != before
        data[at] ^= 1 << at % 8


def test_the_mask_is_leveldbs():
    assert masked_crc32c(b"foo") == (((crc32c(b"foo") >> 15) | (crc32c(b"foo") << 17)) + 0xA282EAD8) % 2**32
    assert masked_crc32c(b"foo") != crc32c(b"foo")
