"""What a module holds: each parameter, their number, and the memory that they take in each dtype."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tinygrad_gpt.terminal import aligned

__all__ = ["Summary", "summarise"]

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Row:
    """One parameter: its name, shape, dtype, number of values, and whether it is trained."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    trained: bool


@dataclass(frozen=True)
class Summary:
    """The parameters of a module; printed as a table."""

    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """Numbers in all parameters."""
        return sum(row.size for row in self.rows)

    @property
    def trained(self) -> int:
        """Numbers in the parameters that are not frozen."""
        return sum(row.size for row in self.rows if row.trained)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of all parameters in each dtype."""
        return {dtype: width * self.size for dtype, width in BYTES.items()}

    def __str__(self):
        table = [("parameter", "shape", "dtype", "numbers")]
        table += [(row.name, "×".join(map(str, row.shape)) or "()", row.dtype, f"{row.size:,}") for row in self.rows]
        memory = ", ".join(f"{dtype} {size / 2**20:,.1f} MiB" for dtype, size in self.memory.items())
        return "\n".join([*aligned(table, "<><>"), "", f"{self.size:,} parameters, {self.trained:,} of them trained",
                          f"memory: {memory}"])

    __repr__ = __str__


def summarise(parameters: Iterable[tuple[str, Any]]) -> Summary:
    """The summary of named parameters."""
    return Summary(tuple(Row(name, tuple(p.shape), str(p.dtype), p.data.size, p.requires_grad)
                         for name, p in parameters))
