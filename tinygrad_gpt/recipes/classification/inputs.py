"""Inputs of a classifier: token ids, or what its frozen blocks make of them, computed once."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.data.batches import ALL, length_batches, pad
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ResourceError
from tinygrad_gpt.models.classifier import TextClassifier
from tinygrad_gpt.parallel.group import Group, current_group

__all__ = ["IN_MEMORY", "FrozenPrefix", "NoisyTexts", "Texts", "frozen_blocks", "inputs_of", "memory_kept"]

IN_MEMORY = 2**30  # bytes of activations; more than that go into a temporary file
PREPARED_TOGETHER = 32  # texts; about a thousand tokens fill a matrix product


class Texts:
    """Texts of a classifier, by their numbers.

    Args:
        model: the classifier.
        token_lists: ids of each text, at most the model's context.
    """

    def __init__(self, model: TextClassifier, token_lists: Sequence[list[int]]):
        self.model, self.token_lists = model, token_lists
        self.lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
        self.start = 0  # the block that `batch` goes into

    def prepare(self, rows: np.ndarray, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Compute now what is kept of some texts; here nothing is."""

    def ids(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Padded ids (B, T) of some texts and their lengths (B), on the host."""
        reading = self.model.reading
        return pad([self.token_lists[i] for i in rows], reading.pad_id, self.model.context if reading.filled else 0)

    def batch(self, rows: np.ndarray, part: slice = ALL) -> tuple[Tensor, np.ndarray]:
        """What goes into block ``start`` for a part of some texts, (B, T, C), and their lengths (B).

        T is that of all of the texts.
        """
        ids, lengths = self.ids(rows)
        return self.model.embed(self.on_device(ids[part])), self.on_device(lengths[part])

    def logits(self, rows: np.ndarray, part: slice = ALL) -> Tensor:
        """Scores (B, n_classes) of a part of some texts."""
        x, lengths = self.batch(rows, part)
        return self.model.scores(self.model.blocks(x, lengths, self.start), lengths)

    def on_device(self, array: np.ndarray):
        """A host array, brought to the backend that holds the model."""
        return backend_of(self.model.score.weight.data).from_numpy(array)


class NoisyTexts(Texts):
    """The same, where a share of the tokens is replaced by others of the batch; the ids that `ids` gives stay.

    What is replaced is a function of ``stream`` and the texts, so that a run can be resumed. The tokens around a text
    stay.

    Args:
        share: of the tokens, 0 to 1.

    Source: Xie et al. 2017, arXiv:1703.02573 (unigram noise).
    """

    def __init__(self, model: TextClassifier, token_lists: Sequence[list[int]], share: float):
        super().__init__(model, token_lists)
        self.share, self.stream = share, (0, 0)

    def batch(self, rows: np.ndarray, part: slice = ALL) -> tuple[Tensor, np.ndarray]:
        ids, lengths = self.ids(rows)
        generator = np.random.default_rng([*self.stream, int(rows[0])])
        places, after = np.arange(ids.shape[1]), self.model.specials // 2
        own = (places >= self.model.specials - after) & (places < lengths[:, None] - after)  # (B, T): of the text
        replaced = own & (generator.random(ids.shape) < self.share)
        if replaced.any():
            ids[replaced] = generator.choice(ids[own], replaced.sum())
        return self.model.embed(self.on_device(ids[part])), self.on_device(lengths[part])


class FrozenPrefix(Texts):
    """The same, where the first ``start`` blocks are frozen: each text goes through them once, when it is first needed,
    or by `prepare`. Equal texts share the result.

    The activations are kept on the host, up to 1 GiB of them in memory, more in a temporary file that is
    mapped into memory. They are those of a model without dropout.

    Args:
        rows: the texts that will be asked for; there is no place for others.
    """

    def __init__(self, model: TextClassifier, token_lists: Sequence[list[int]], rows: np.ndarray, start: int,
                 in_memory: int = IN_MEMORY):
        super().__init__(model, token_lists)
        self.start = start
        self.same_as, sizes = _kept_positions(model, token_lists, rows, start)
        self.ends = np.cumsum(sizes)
        self.known = np.zeros(len(sizes), bool)
        dtype = np.dtype(str(model.score.weight.dtype))
        self.values = _storage((int(sizes.sum()), model.transformer.config.n_embd), dtype, in_memory)

    def prepare(self, rows: np.ndarray, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Send those texts that have not been there through the frozen blocks, texts of about the same length together.

        The processes of a group share the work. ``report`` is told how many of how many are through.
        """
        batches, group = self._missing(rows), current_group()
        done, total = 0, sum(map(len, batches))
        for start in range(0, len(batches), group.size):
            turn = batches[start:start + group.size]  # a batch for each process
            for texts in turn[group.rank:group.rank + 1]:
                self._compute(texts)
            for rank, texts in enumerate(turn):
                self._share(texts, group, rank)
                done += len(texts)
            report(done, total)

    def _missing(self, rows: np.ndarray) -> list[np.ndarray]:
        """Those texts that have not been there, in batches of about the same length."""
        rows = np.unique(self.same_as[rows])
        rows = rows[~self.known[rows]]
        return [rows[places] for places in
                length_batches(self.lengths[rows], PREPARED_TOGETHER, seed=0, epoch=0, shuffle=False)]

    def _share(self, texts: np.ndarray, group: Group, rank: int) -> None:
        """Give the activations of some texts, which a rank has computed, to all ranks."""
        if group.size > 1:
            for i in texts:
                group.copy_from(rank, self._kept(i))
            self.known[texts] = True

    def batch(self, rows: np.ndarray, part: slice = ALL) -> tuple[Tensor, np.ndarray]:
        for texts in self._missing(rows[part]):
            self._compute(texts)
        own = rows[part]
        length = max(len(self._kept(i)) for i in self.same_as[rows])
        x = np.zeros((len(own), length, self.values.shape[1]), self.values.dtype)  # (B, T, C)
        for row, i in zip(x, self.same_as[own], strict=True):
            values = self._kept(i)
            row[:len(values)] = values
        return Tensor(self.on_device(x)), self.on_device(self.lengths[own])

    def _compute(self, rows: np.ndarray) -> None:
        training = self.model.training
        self.model.eval()
        with no_grad():
            x, lengths = super().batch(rows)
            computed = self.model.blocks(x, lengths, 0, self.start).numpy()
        self.model.train(training)
        for i, values in zip(rows, computed, strict=True):
            kept = self._kept(i)
            kept[:] = values[:len(kept)]
        self.known[rows] = True

    def _kept(self, i: int) -> np.ndarray:
        """The place (k, C) of a text's activations."""
        return self.values[self.ends[i - 1] if i else 0:self.ends[i]]


def _kept_positions(model: TextClassifier, token_lists: Sequence[list[int]], rows: np.ndarray,
                    start: int) -> tuple[np.ndarray, np.ndarray]:
    """For each text the first one that is the same, and at how many positions its activations are kept."""
    first: dict[tuple[int, ...], int] = {}
    same_as = np.array([first.setdefault(tuple(ids), i) for i, ids in enumerate(token_lists)])
    if start == model.transformer.config.n_layer and not model.reading.whole:
        sizes = np.ones(len(token_lists), np.int64)  # behind the last block only what is read is left
    else:
        sizes = np.array([model.context if model.reading.filled else len(ids) for ids in token_lists], np.int64)
    return same_as, np.where(np.isin(np.arange(len(sizes)), same_as[rows]), sizes, 0)  # twins are kept once


def _storage(shape: tuple[int, int], dtype: np.dtype, in_memory: int) -> np.ndarray:
    size = shape[0] * shape[1] * dtype.itemsize
    if size <= in_memory:
        return np.empty(shape, dtype)
    folder = tempfile.gettempdir()
    if size > (free := shutil.disk_usage(folder).free):
        raise ResourceError(f"no room for temporary files ({folder}): what the frozen blocks make of the texts takes "
                            f"{size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; free some space, set TMPDIR to a "
                            "folder on another disk, or give a shorter context")
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, and a crash later
        return np.memmap(file, dtype, "w+", shape=shape)


def inputs_of(model: TextClassifier, token_lists: Sequence[list[int]], rows: np.ndarray) -> Texts:
    """What to feed a classifier with of which some blocks are trained: nothing is computed twice.

    Args:
        rows: the texts that will be asked for.
    """
    start = frozen_blocks(model)
    return FrozenPrefix(model, token_lists, rows, start, IN_MEMORY) if start else Texts(model, token_lists)


def memory_kept(model: TextClassifier, token_lists: Sequence[list[int]], rows: np.ndarray) -> int:
    """Bytes of memory that what `inputs_of` gives keeps of some texts; what it keeps in a file is not among them."""
    if not (start := frozen_blocks(model)):
        return 0
    _, sizes = _kept_positions(model, token_lists, rows, start)
    size = model.transformer.config.n_embd * model.score.weight.dtype.itemsize * int(sizes.sum())
    return size if size <= IN_MEMORY else 0


def frozen_blocks(model: TextClassifier) -> int:
    """How many blocks from the first on, with the embeddings before them, are not trained."""
    transformer = model.transformer
    if any(part.trainable() for part in transformer.embeddings):
        return 0
    return next((i for i, block in enumerate(transformer.h) if block.trainable()), len(transformer.h))
