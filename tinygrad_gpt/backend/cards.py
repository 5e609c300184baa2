"""What NVIDIA's GPUs can do, by compute capability."""

import functools
from typing import NamedTuple

from tinygrad_gpt.errors import UsageError

__all__ = ["CARDS", "Card", "card_of"]


class Card(NamedTuple):
    """What a GPU can do, as far as kernels and products depend on it.

    Args:
        capability: its compute capability, times ten: 75 is 7.5.
        shared_memory: bytes of shared memory that a block may use.
        tensor_cores: what the kernels multiply on its tensor cores: names of dtypes, and "tf32".
    """

    capability: int
    shared_memory: int
    tensor_cores: tuple[str, ...]

    def check_precision(self, name: str) -> None:
        """Refuse a precision that the GPU does not have.

        Raises:
            UsageError: "precision is 'bfloat16' (GPU of compute capability 7.5): it needs 8.0, which is Ampere, or
                newer; use float16 or float32".
        """
        if name in ("bfloat16", "tf32") and name not in self.tensor_cores:
            raise UsageError(f"precision is {name!r} (GPU of compute capability {self.capability / 10}): it needs 8.0, "
                             "which is Ampere, or newer; use float16 or float32")


_AMPERE = ("float16", "bfloat16", "tf32")  # and every generation since
CARDS = {card.capability: card for card in (
    Card(70, 96 * 1024, ()),  # V100; its tensor cores take factors of another layout, m8n8k4
    Card(75, 64 * 1024, ("float16",)),  # T4, RTX 20
    Card(80, 163 * 1024, _AMPERE),  # A100
    Card(86, 99 * 1024, _AMPERE),  # RTX 30, A10
    Card(89, 99 * 1024, _AMPERE),  # RTX 40, L4
    Card(90, 227 * 1024, _AMPERE),  # H100, H200
    Card(100, 227 * 1024, _AMPERE),  # B200
    Card(120, 99 * 1024, _AMPERE),  # RTX 50
)}
# Source: NVIDIA, CUDA C++ Programming Guide, compute capabilities, "maximum amount of shared memory per thread block".


@functools.cache
def card_of(capability: int) -> Card | None:
    """The entry of `CARDS` for a compute capability, or for the nearest below it; None if all are above it."""
    known = [known for known in CARDS if known <= capability]
    return CARDS[max(known)]._replace(capability=capability) if known else None
