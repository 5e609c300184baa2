"""What a set of experiments depends on."""

from dataclasses import dataclass, replace
from pathlib import Path

from tinygrad_gpt.book.experiments import IMDB, ROWS, SHARED, Row
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, is_encoder

__all__ = ["BOOK", "FAMILY", "ExperimentsConfig", "run_config", "starts_by_name"]

BOOK = FinetuneConfig(data="", **SHARED)

# Blocks, width and heads of each: a quarter of GPT-2's blocks, an eighth of its width, its number of heads.
FAMILY = {"gpt2": (3, 96, 12), "gpt2-medium": (6, 128, 16), "gpt2-large": (9, 160, 20), "gpt2-xl": (12, 200, 25)}


@dataclass(frozen=True)
class ExperimentsConfig:
    """What a set of experiments depends on.

    Args:
        data: labelled texts of two classes; the book's figures are of SMSSpamCollection, from row 20 on of 50,000
            film reviews.
        base: the model that all rows start from but those of random weights, a GPT-2 or an encoder, as in
            `load_model`; or "table": each row from its own, as in the book's table; or a folder with models of those
            names; or "family": small models of those names that are trained on ``family_text`` first, in the folder
            `family` beside the runs.
        vocabulary: GPT-2's, for rows of random weights, as in `load_vocabulary`.
        rows: which experiments.
        seeds: of each of them: of the head's initial values and of the order of the texts.
        epochs, lr: of all rows; from row 20 on there is one epoch.
        family_text, family_steps: files to train the family on, and the steps of each model; see `train_family`.

    Raises:
        UsageError: "base is 'family': it has no text to learn from; give text files".
    """

    data: str
    base: str = SHIPPED_BASE
    vocabulary: str = "gpt2"
    rows: tuple[Row, ...] = ROWS
    seeds: tuple[int, ...] = (BOOK.seed,)
    epochs: int = BOOK.epochs
    lr: float = BOOK.lr
    family_text: tuple[str, ...] = ()
    family_steps: int = 1000

    def __post_init__(self):
        if self.base == "family" and not self.family_text:
            raise UsageError("base is 'family': it has no text to learn from; give text files")

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that the rows start from in the book's table, random weights left out."""
        return tuple(dict.fromkeys(row.model for row in self.rows if row.model != "random"))

    def base_of(self, row: Row) -> str:
        """The model that a row starts from."""
        if not starts_by_name(self.base):
            return self.base
        return row.model if self.base == "table" else str(Path(self.base) / row.model)


def starts_by_name(base: str) -> bool:
    """Whether each row starts from the model of its own name in the book's table."""
    return base in ("table", "family") or any(
        (Path(base) / name).is_dir() for name in (*FAMILY, *(row.model for row in IMDB)))


def run_config(config: ExperimentsConfig, row: Row, seed: int) -> FinetuneConfig:
    """The settings of one run; an encoder reads its two tokens around each text and has no causal mask to remove."""
    base = replace(BOOK, data=config.data, base=config.base_of(row), epochs=config.epochs, lr=config.lr, seed=seed)
    if row.model == "random":
        base = replace(base, vocabulary=config.vocabulary)
    run = replace(base, **row.change)
    return replace(run, no_start=False, no_causal_mask=False) if run.base != "random" and is_encoder(run.base) else run
