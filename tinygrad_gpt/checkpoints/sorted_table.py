"""A sorted table of bytes by bytes, as LevelDB writes it; TensorFlow keeps the index of a checkpoint in one.

    blocks        entries in the order of their keys; the last one lists the blocks
    footer        48 bytes: the places of two blocks as varints, zeros, the number MAGIC

    block         entries, the offsets of those with a whole key (uint32 each), their number (uint32)
    behind it     a byte, 0 where the block is not compressed, and the checksum of both (uint32)
    entry         varints: bytes shared with the key before, further bytes of the key, bytes of the value; the bytes

Source: LevelDB, `doc/table_format.md`.
"""

from collections.abc import Iterator

from tinygrad_gpt.checkpoints.crc32c import masked_crc32c
from tinygrad_gpt.errors import CheckpointError

__all__ = ["FOOTER", "is_table", "read_table", "varint"]

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48  # bytes
TRAILER = 5  # bytes behind a block
DAMAGED = "use another copy"


def is_table(end: bytes) -> bool:
    """Whether a file with these last bytes is a sorted table."""
    return end.endswith(MAGIC)


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Return the values of a table by key.

    Args:
        data: the whole file.

    Raises:
        CheckpointError: a reason without the file's name: "its block at byte 0 is damaged (wrong checksum); …".
    """
    if len(data) < FOOTER or not is_table(data):
        raise CheckpointError(f"it does not end as a table does; {DAMAGED}")
    footer = data[-FOOTER:]
    _, at = _place(footer, 0)  # of a block on filters, which TensorFlow leaves empty
    index, _ = _place(footer, at)
    entries: dict[bytes, bytes] = {}
    last, end = b"", 0
    for _, listed in _entries(_block(data, index)):
        place, _ = _place(listed, 0)
        if place[0] < end:
            raise CheckpointError(f"its blocks overlap or are not in order; {DAMAGED}")
        end = sum(place)
        for key, value in _entries(_block(data, place)):
            if entries and key <= last:
                raise CheckpointError(f"its keys are not in order at {key[:40]!r}; {DAMAGED}")
            entries[key], last = value, key
    return entries


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 7 bits per byte, the lowest first, and where it ends.

    Raises:
        CheckpointError: it does not end, or has more than 64 bits.
    """
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            if number >= 2**64:
                break
            return number, at
    raise CheckpointError(f"a number at byte {at} has no end; {DAMAGED}")


def _place(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and length of a block, and where they end."""
    offset, at = varint(data, at)
    length, at = varint(data, at)
    return (offset, length), at


def _block(data: bytes, place: tuple[int, int]) -> bytes:
    """The bytes of a block, checked."""
    offset, length = place
    end = offset + length
    if end + TRAILER > len(data) - FOOTER:
        raise CheckpointError(f"its block of {length} bytes at byte {offset} reaches beyond its end; {DAMAGED}")
    if masked_crc32c(data[offset:end + 1]) != int.from_bytes(data[end + 1:end + TRAILER], "little"):
        raise CheckpointError(f"its block at byte {offset} is damaged (wrong checksum); {DAMAGED}")
    if data[end]:
        how = "with Snappy" if data[end] == 1 else f"in a way with the number {data[end]}"
        raise CheckpointError(f"its block at byte {offset} is compressed {how}, which is not read here; write it "
                              "without compression, as TensorFlow does")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise CheckpointError(f"a block of {len(block)} bytes has no room for its {restarts} restarts; {DAMAGED}")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        more, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + more + length > end:
            raise CheckpointError(f"an entry behind the key {key[:40]!r} does not fit into its block; {DAMAGED}")
        key = key[:shared] + block[at:at + more]
        yield key, block[at + more:at + more + length]
        at += more + length
