"""CRC-32C (Castagnoli), the checksum in TensorFlow's files, in NumPy.

The checksum is the remainder of the data, as a polynomial over bits, on division by P. So a multiple of P can be added
to them, and one of four terms, far apart, moves a word to three later places: long data are folded into their end, many
words at once. The end is cut into lanes, all lanes are advanced by one word in each step, and the lanes are then
joined: the checksum of a text followed by another is that of the first, shifted by the length of the second, plus that
of the second.

Source: RFC 3720, appendix B.4; the mask: LevelDB, `util/crc32c.h`; sparse multiples: Russell 2024, arXiv:2412.16398.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

__all__ = ["crc32c", "masked_crc32c"]

POLYNOMIAL = 0x82F63B78  # its bits in reverse
FAR, NEAR, NEARER = 14867, 318, 278  # x^(32 FAR) + x^(32 NEAR) + x^(32 NEARER) + 1 is a multiple of P
SHORT = 4096  # bytes up to which one by one is faster
ONES = 0xFFFFFFFF

Shift = Callable[[np.ndarray], np.ndarray]


def crc32c(data: bytes | np.ndarray) -> int:
    """Return the checksum of bytes, or of the bytes of an array in C order.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    octets, state = np.frombuffer(data, np.uint8), ONES
    if len(octets) > 8 * FAR:
        head = len(octets) % 4
        octets = _folded(octets[head:].view("<u4"), _appended(ONES, octets[:head])).view(np.uint8)
        state = 0
    lanes = 1 << (len(octets) // 256).bit_length() - 1 if len(octets) >= SHORT else 1
    head = len(octets) % (4 * lanes) if lanes > 1 else len(octets)
    state = _appended(state, octets[:head])
    if head == len(octets):
        return state ^ ONES
    words = octets[head:].view("<u4").reshape(lanes, -1)
    return _joined(_advanced(words, state), 4 * words.shape[1]) ^ ONES


def masked_crc32c(data: bytes | np.ndarray) -> int:
    """Return the checksum as it is stored beside the data: rotated, so that data with checksums can be checked."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & ONES


def _appended(state: int, octets: np.ndarray) -> int:
    """The state behind some more bytes, one by one."""
    table = _table(1).tolist()
    for octet in octets.tolist():
        state = state >> 8 ^ table[(state ^ octet) & 255]
    return state


def _folded(words: np.ndarray, state: int) -> np.ndarray:
    """Words folded into their last ones, more than FAR: these give, from state 0, what all give from ``state``."""
    added = np.zeros(FAR, np.uint32)  # to the next words
    added[0] = state
    step, at = FAR - NEAR, 0
    while len(words) - at > FAR + step:
        moved = words[at:at + step] ^ added[:step]
        added[:NEAR], added[NEAR:] = added[step:], 0
        for place in (NEAR, NEAR - NEARER, 0):  # behind the words: FAR, FAR − NEARER and FAR − NEAR later
            added[place:place + step] ^= moved
        at += step
    rest = words[at:].astype(np.uint32)
    rest[:FAR] ^= added
    return rest


def _advanced(words: np.ndarray, state: int) -> np.ndarray:
    """The states of all lanes (L) behind their words (L, N); the first lane begins with a state, the others with 0."""
    states = np.zeros(len(words), np.uint32)
    states[0] = state
    low, high = _table(4), _table(2)
    for column in words.T:
        states ^= column
        states = low[states & 0xFFFF] ^ high[states >> 16]
    return states


def _joined(states: np.ndarray, length: int) -> int:
    """The state of all lanes in a row, each of ``length`` bytes: neighbours are joined until one is left."""
    shift = _shift(length)
    while len(states) > 1:
        states = shift(states[::2]) ^ states[1::2]
        shift = _twice(shift)
    return int(states[0])


@cache
def _table(octets: int) -> np.ndarray:
    """What a state of 16 bits becomes behind that many bytes of 0; of 8 bits for one byte."""
    states: np.ndarray = np.arange(256 if octets == 1 else 65536, dtype=np.uint32)
    for _ in range(8 * octets):
        states = states >> 1 ^ np.where(states & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return states


def _shift(length: int) -> Shift:
    """The function of states that appends ``length`` bytes of 0: its square is that of twice the length."""
    columns, power = _columns(lambda states: states), _columns(lambda states: states >> 8 ^ _table(1)[states & 255])
    while length:
        if length & 1:
            columns = _applied(power, columns)
        power, length = _applied(power, power), length >> 1
    return lambda states: _applied(columns, states)


def _twice(shift: Shift) -> Shift:
    columns = _columns(lambda states: shift(shift(states)))
    return lambda states: _applied(columns, states)


def _columns(function: Shift) -> np.ndarray:
    """What a linear function makes of each single bit (32)."""
    return function(np.uint32(1) << np.arange(32, dtype=np.uint32))


def _applied(columns: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The sum of those columns whose bits are set in each state."""
    result = np.zeros_like(states)
    for bit, column in enumerate(columns):
        result ^= np.where(states >> np.uint32(bit) & np.uint32(1), column, np.uint32(0))
    return result
