"""Keys and values of the tokens that a model has read, so that the next token is computed alone."""

from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.errors import ShapeError

__all__ = ["Chunk", "KVCache", "LayerCache"]


@dataclass(frozen=True)
class Chunk:
    """Where the new tokens of one forward pass belong.

    Args:
        positions: (B, n) integers, of the new tokens in their texts.
        allowed: (B, 1, n, m) bool, which of the m slots a new token may see; None if all.
        ends: (B) integers on the host, tokens that each row holds after this pass; m is the largest.
        real: three indices: row, index in the pass, and slot of every token that is not padding; slices where all
            rows are at the same slot and none is padded, else arrays (N).
    """

    positions: Array
    allowed: Array | None
    ends: np.ndarray
    real: tuple[Array, Array, Array] | tuple[slice, slice, slice]


class LayerCache:
    """One layer's keys and values, each (B, H, capacity, D), and the chunk that is being read."""

    def __init__(self, keys: Array, values: Array, chunk: Chunk | None = None):
        self.keys, self.values, self.chunk = keys, values, chunk

    @property
    def allowed(self) -> Array | None:
        """(B, 1, n, m) bool, which slots the tokens of the chunk may see; None if all."""
        assert self.chunk is not None
        return self.chunk.allowed

    def extend(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Store k and v (B, H, n, D) of the chunk; all keys and values that it may see, (B, H, m, D)."""
        assert self.chunk is not None
        rows, new, slots = self.chunk.real
        self.keys[rows, :, slots] = k[rows, :, new]
        self.values[rows, :, slots] = v[rows, :, new]
        m = int(self.chunk.ends.max())
        return self.keys[:, :, :m], self.values[:, :, :m]


class KVCache:
    """Room for the keys and values of a batch of texts, in every layer.

    Slot p of a row holds the token at position p of its text, whatever the other rows hold: texts of different
    length start at slot 0 and are padded on the right. Padding is never stored, so a text continues after its own
    last token, and a token at position p may see the slots 0 to p.

    Args:
        n_layer, batch, n_head, capacity, head_size: sizes; ``capacity`` is the longest text, in tokens.
        like: an array with the backend and the dtype of the keys.

    Attributes:
        lengths: (B) integers on the host, tokens that each row holds; setting one to 0 empties the row.
    """

    def __init__(self, n_layer: int, batch: int, n_head: int, capacity: int, head_size: int, like: Array):
        xp, shape = backend_of(like).xp, (batch, n_head, capacity, head_size)
        # Zeros, because attention multiplies the contents of an unused slot by 0, and 0 · NaN is not 0.
        self.layers = [LayerCache(xp.zeros(shape, dtype=like.dtype), xp.zeros(shape, dtype=like.dtype))
                       for _ in range(n_layer)]
        self.lengths = np.zeros(batch, np.int64)

    @property
    def capacity(self) -> int:
        """The longest text that a row can hold."""
        return self.layers[0].keys.shape[2]

    def start(self, n: int, lengths: np.ndarray | None = None) -> Chunk:
        """Prepare all layers for n more tokens a row, of which the first ``lengths`` (B) are real; None: all.

        Raises:
            ShapeError: "KVCache: 300 tokens in row 0, but it has room for 256…".
        """
        batch = len(self.lengths)
        lengths = np.full(batch, n, np.int64) if lengths is None else np.asarray(lengths)
        if lengths.shape != (batch,) or lengths.min() < 0 or lengths.max() > n:
            raise ShapeError(f"KVCache: lengths are {lengths.tolist()}; give one from 0 to {n} for each of the {batch} "
                             "rows")
        ends = self.lengths + lengths
        if ends.max() > self.capacity:
            raise ShapeError(f"KVCache: {ends.max()} tokens in row {ends.argmax()}, but it has room for "
                             f"{self.capacity}; make a larger cache, or empty the row")
        backend = backend_of(self.layers[0].keys)
        # Padding may lie behind the capacity; its position only has to exist.
        positions = np.minimum(self.lengths[:, None] + np.arange(n), self.capacity - 1)  # (B, n)
        allowed = np.arange(ends.max()) <= positions[:, None, :, None]  # (B, 1, n, m)
        chunk = Chunk(backend.from_numpy(positions), None if allowed.all() else backend.from_numpy(allowed),
                      ends, self._real(n, lengths, positions))
        for layer in self.layers:
            layer.chunk = chunk
        return chunk

    def _real(self, n, lengths, positions):
        """The indices of the tokens that are not padding, see `Chunk`."""
        start = int(self.lengths[0])
        if lengths.min() == n and (self.lengths == start).all():
            return slice(None), slice(None), slice(start, start + n)
        rows, new = np.nonzero(np.arange(n) < lengths[:, None])
        from_numpy = backend_of(self.layers[0].keys).from_numpy
        return from_numpy(rows), from_numpy(new), from_numpy(positions[rows, new])

    def commit(self, chunk: Chunk) -> None:
        """Count the tokens of the chunk as read, now that every layer has stored them."""
        self.lengths[:] = chunk.ends

    def select(self, rows: np.ndarray) -> "KVCache":
        """A cache of copies of these rows, in this order; a row may come several times."""
        index = backend_of(self.layers[0].keys).from_numpy(rows)
        return self._of([LayerCache(layer.keys[index], layer.values[index]) for layer in self.layers],
                        self.lengths[rows])

    def row(self, i: int) -> "KVCache":
        """One row as a cache of its own that shares the memory."""
        here = slice(i, i + 1)
        return self._of([LayerCache(layer.keys[here], layer.values[here]) for layer in self.layers],
                        self.lengths[here])

    @staticmethod
    def _of(layers: list[LayerCache], lengths: np.ndarray) -> "KVCache":
        cache = KVCache.__new__(KVCache)
        cache.layers, cache.lengths = layers, lengths
        return cache
