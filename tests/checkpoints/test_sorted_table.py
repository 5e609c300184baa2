"""A sorted table of LevelDB is read whatever its blocks and restarts are; damaged and foreign ones are refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_checkpoint import masked, table, varint

from tinygrad_gpt.checkpoints import sorted_table
from tinygrad_gpt.checkpoints.sorted_table import is_table, read_table
from tinygrad_gpt.errors import CheckpointError

ENTRIES = {f"model/h{i}/attn/{name}".encode(): bytes([i]) * i for i in range(12) for name in ("b", "bias", "w")}
ROOM = sorted_table.FOOTER


def refusal(data):
    with pytest.raises(CheckpointError) as caught:
        read_table(data)
    assert str(caught.value).isprintable()
    return str(caught.value)


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=150), max_size=12), st.integers(1, 9),
       st.integers(1, 17))
def test_what_was_written_is_read(entries, per_block, restart):
    assert read_table(table(entries, per_block, restart)) == entries


@pytest.mark.parametrize(("per_block", "restart"), [(1, 1), (7, 3), (36, 16), (100, 1)])
def test_shared_beginnings_of_keys(per_block, restart):
    data = table(ENTRIES, per_block, restart)
    assert is_table(data)
    assert read_table(data) == ENTRIES


def test_a_flipped_bit_anywhere_is_noticed_or_does_not_count():
    entries = dict(list(ENTRIES.items())[:6])
    data, refused = table(entries, 3), 0
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        try:
            assert read_table(bytes(damaged)) == entries  # an unused byte of the footer, the block on filters
        except CheckpointError:
            refused += 1
    assert refused > len(data) - ROOM - 20


@pytest.mark.parametrize("length", [0, 1, 40, 60, 200])
def test_a_table_that_was_cut_off(length):
    assert "does not end as a table does" in refusal(table(ENTRIES)[:length])


def test_compressed_blocks_are_refused_by_name():
    assert "compressed with Snappy, which is not read here; write it without" in refusal(table(ENTRIES, compression=1))
    assert "compressed in a way with the number 7" in refusal(table(ENTRIES, compression=7))


def with_index(places):
    """A table whose last block lists these places, keys 0, 1, …"""
    data = table({})
    body = b"".join(varint(0) + varint(1) + varint(len(place)) + bytes([i]) + place for i, place in enumerate(places))
    body += struct.pack("<II", 0, 1)
    index = varint(len(data)) + varint(len(body))
    data += body + b"\0" + struct.pack("<I", masked(body + b"\0"))
    return data + (varint(0) + varint(8) + index).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def test_places_outside_the_file_and_blocks_listed_twice():
    block = varint(0) + varint(8)  # the empty block on filters of the table in front
    assert read_table(with_index([block])) == {}
    assert "reaches beyond its end" in refusal(with_index([varint(5) + varint(2**40)]))
    assert "reaches beyond its end" in refusal(with_index([varint(2**63) + varint(1)]))
    assert "its blocks overlap or are not in order" in refusal(with_index([block] * 2))


def test_keys_out_of_order():
    first, second = table({b"b": b"1"}), table({b"a": b"2"})
    length = first.index(struct.pack("<I", 1), 4) + 4
    blocks = first[:length + 5] + second[:length + 5]
    places = [varint(0) + varint(length), varint(length + 5) + varint(length)]
    body = b"".join(varint(0) + varint(1) + varint(len(place)) + bytes([i]) + place for i, place in enumerate(places))
    body += struct.pack("<II", 0, 1)
    data = blocks + body + b"\0" + struct.pack("<I", masked(body + b"\0"))
    footer = varint(0) + varint(length) + varint(len(blocks)) + varint(len(body))
    assert "its keys are not in order at b'a'" in refusal(
        data + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db"))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 11, b"\xff" * 9 + b"\x7f"])
def test_numbers_without_an_end_or_of_more_than_64_bits(data):
    with pytest.raises(CheckpointError, match="has no end"):
        sorted_table.varint(data, 0)
    assert sorted_table.varint(b"\xac\x02", 0) == (300, 2)
