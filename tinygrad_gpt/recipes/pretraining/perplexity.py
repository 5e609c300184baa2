"""Measure how well a saved language model predicts text files."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from tinygrad_gpt.data.pretraining import load_text
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.figures.perplexity import Perplexity, measure_perplexity
from tinygrad_gpt.recipes.pretraining.corpus import documents, encode_documents
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.terminal import counted

__all__ = ["TextPerplexity", "perplexity"]


@dataclass(frozen=True)
class TextPerplexity:
    """How well a model predicts a text.

    Args:
        files: how many were read.
        documents: texts between the ends of text in them.
        figures: loss, perplexity and bits per byte. Each document counts one byte more than it has, for its end, and
            one token more; another end of text precedes the first, as context.
    """

    files: int
    documents: int
    figures: Perplexity

    @property
    def counts(self) -> str:
        """One line that reconciles what was read with what was predicted."""
        figures = self.figures
        whole = figures.predicted == figures.tokens - 1
        which = "all but the first" if whole else f"a sample of {figures.tokens - 1:,}"
        return (f"{counted(self.files, 'file')}, {counted(self.documents, 'document')}, "
                f"{counted(figures.n_bytes, 'byte')} with one for the end of each, {figures.tokens:,} tokens "
                f"({self.documents + 1:,} of them ends of text); {figures.predicted:,} predicted, {which}")

    def to_dict(self) -> dict:
        """As plain JSON values."""
        return {"files": self.files, "documents": self.documents, **asdict(self.figures),
                "perplexity": self.figures.perplexity, "bits_per_byte": self.figures.bits_per_byte}


def perplexity(saved: SavedModel, files: Sequence[str], *, stride: int | None = None, max_windows: int | None = None,
               report: Callable[[int, int], None] = lambda done, total: None) -> TextPerplexity:
    """Predict the texts of files, one after the other, as in pretraining: a window may reach over their ends.

    Args:
        saved: a language model; of a classifier, the language model inside.
        files: UTF-8 texts (.txt, .txt.xz, .txt.gz); a line `<|endoftext|>` ends a document.
        stride, max_windows, report: as in `measure_perplexity`.

    Raises:
        DataError: a file that cannot be read, or has a character that the vocabulary lacks.
        UsageError, NonFiniteError: as in `measure_perplexity`.
    """
    texts = [text for file in files for text in documents(load_text(file))]
    if not texts:
        raise DataError(f"no text ({', '.join(files)}): only ends of text are there; give a text file")
    n_bytes = sum(len(text.encode()) + 1 for text in texts)
    tokens = encode_documents(saved.tokenizer, texts)
    figures = measure_perplexity(saved.transformer, tokens, n_bytes, stride=stride, max_windows=max_windows,
                                 report=report)
    return TextPerplexity(len(files), len(texts), figures)
