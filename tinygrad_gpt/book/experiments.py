"""The book's experiments on finetuning, as a table of what each of them changes.

Source: S. Raschka, the repository of *Build a Large Language Model (From Scratch)*, folder
ch06/02_bonus_additional-experiments and ch06/03_bonus_imdb-classification.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.lora import BLOCK_LAYERS

__all__ = ["IMDB", "ROWS", "SHARED", "SIZES", "Row", "rows_named", "seeds_named"]

SHARED: dict[str, Any] = dict(  # settings of all rows, unless they say otherwise
    split="book-experiments", init="book", train="last-block", read="last", no_start=True, context="longest",
    padding="fixed", epochs=5, batch_size=8, order="book", lr=5e-5, schedule="constant", weight_decay=0.1, decay="all",
    max_norm=1e6,  # that is never: the book does not clip
    dropout=0.0, lm_weight=0.0, seed=123,
    save_every=0)  # a run leaves its figures alone
SIZES: dict[str, Any] = {"n_ctx": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}  # of the 124M model
LORA = {"train": "lora", "rank": 16, "targets": ",".join((*BLOCK_LAYERS, "score"))}


@dataclass(frozen=True)
class Row:
    """An experiment, and what the book's author found on one A100 with seed 123.

    Args:
        number: in its table.
        name: one word for it.
        title: what is done.
        model: name of the model that it starts from, or "random".
        train, validation, test: its accuracies in per cent; None where they were not published.
        minutes: that its training took, as far as it was published.
        change: settings that differ from `SHARED`.
        remark: what its figures do not tell.
    """

    number: int
    name: str
    title: str
    model: str
    train: float | None
    validation: float | None
    test: float
    minutes: float | None
    change: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


_PADDED = "It is read at the last position, which for all but the longest texts is padding."
_SCALING = "The book multiplies LoRA's updates by alpha itself; here alpha / rank is {}, which is the same."

ROWS = (
    Row(1, "last-block", "last block trained", "gpt2", 96.63, 99.33, 95.00, 0.28, {}, _PADDED),
    Row(2, "first-token", "read at the first token", "gpt2", 78.46, 80.54, 75.00, 0.28, {"read": "first"},
        "Under a GPT's causal mask the first token sees no other, so the rest of the text is not read; an encoder "
        "reads all of it."),
    Row(3, "head", "head trained", "gpt2", 78.65, 79.87, 72.00, 0.25, {"train": "head"}),
    Row(4, "last-two-blocks", "last two blocks trained", "gpt2", 98.85, 98.66, 98.33, 0.33,
        {"train": "last-two-blocks"}),
    Row(5, "all", "all trained", "gpt2", 99.62, 96.64, 96.67, 0.69, {"train": "all"}),
    Row(6, "medium", "last block trained", "gpt2-medium", 87.50, 91.28, 84.67, 0.75),
    Row(7, "large", "last block trained", "gpt2-large", 99.52, 98.66, 96.67, 1.50),
    Row(8, "xl", "last block trained", "gpt2-xl", 99.81, 99.33, 98.33, 2.83, {},
        "The book's table has 99.81 for validation, which 149 texts cannot give; 99.33 is the nearest that they can."),
    Row(9, "xl-all", "all trained", "gpt2-xl", 100.00, 98.66, 98.67, 8.12, {"train": "all"}),
    Row(10, "random", "all trained, from random weights", "random", 100.00, 96.64, 93.67, 0.69,
        {"train": "all", "base": "random", **SIZES}),
    Row(11, "lora", "LoRA of rank 16", "gpt2", 100.00, 97.32, 96.67, 0.75, {**LORA, "alpha": 16.0 * 16},
        _SCALING.format(16)),
    Row(12, "xl-lora", "LoRA of rank 16", "gpt2-xl", 100.00, 98.66, 98.33, 5.79, {**LORA, "alpha": 8.0 * 16},
        _SCALING.format(8)),
    Row(13, "model-context", "padded to the model's context", "gpt2", 83.08, 87.92, 78.33, 2.46,
        {"context": "model"}),
    Row(14, "no-padding", "no padding, batches of one", "gpt2", 100.00, 98.66, 98.00, 1.75,
        {"padding": "none", "batch_size": 1, "context": "model"}),
    Row(15, "accumulated", "no padding, eight texts accumulated", "gpt2", 99.33, 98.66, 98.33, 1.70,
        {"padding": "none", "batch_size": 1, "accumulate": 8, "context": "model"}),
    Row(16, "last-real-token", "read at the last real token", "gpt2", 99.42, 98.66, 98.33, 0.30,
        {"read": "last-real"}),
    Row(17, "no-causal-mask", "no causal mask", "gpt2", 99.23, 98.66, 95.33, 0.29, {"no_causal_mask": True}),
    Row(18, "ignore-index", "padding ignored in the loss", "gpt2", 96.63, 99.33, 95.00, 0.28, {},
        "The book's script never passes the option on, and a loss on labels has no padding to ignore."),
    Row(19, "mean", "read as the mean of all positions", "gpt2", 97.79, 99.33, 96.33, 0.32, {"read": "mean"},
        "The mean includes padding."),
)
_REVIEWS: dict[str, Any] = {"split": "book-imdb", "train": "all", "epochs": 1, "context": "256"}
_ENCODER: dict[str, Any] = {**_REVIEWS, "read": "first", "dropout": 0.1}
_OTHERS = "Its 10,000 test reviews are others than the book's, whose file has another order."

IMDB = (  # 50,000 film reviews in one file: 35,000 to train on, 5,000 to validate, 10,000 to test
    Row(20, "imdb-gpt2", "reviews, all trained", "gpt2", None, None, 91.88, None, {**_REVIEWS, "read": "last-real"},
        _OTHERS),
    Row(21, "imdb-bert", "reviews, all trained", "bert-base-uncased", None, None, 90.89, None, _ENCODER, _OTHERS),
    Row(22, "imdb-distilbert", "reviews, all trained", "distilbert-base-uncased", None, None, 91.40, None, _ENCODER,
        _OTHERS),
    Row(23, "imdb-roberta", "reviews, all trained", "roberta-large", None, None, 94.69, None, _ENCODER, _OTHERS),
)


def rows_named(text: str) -> tuple[Row, ...]:
    """The rows that a user means, in the order of the table.

    Args:
        text: numbers, ranges and names with commas between: "1-5,10,mean".

    Raises:
        UsageError: "rows has '24'; give numbers from 1 to 23, …".
    """
    rows, wanted = (*ROWS, *IMDB), set()
    for part in text.split(","):
        numbers = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", part.strip())
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (0, 0)
        found = [row for row in rows if first <= row.number <= last or row.name == part.strip()]
        if not found or (numbers and len(found) < last - first + 1):
            raise UsageError(f"rows has {part!r}; give numbers from 1 to {len(rows)}, ranges such as 1-5, or names: "
                             f"{', '.join(row.name for row in rows)}")
        wanted |= {row.number for row in found}
    return tuple(row for row in rows if row.number in wanted)


def seeds_named(text: str) -> tuple[int, ...]:
    """Seeds in a text, "123,124", each once.

    Raises:
        UsageError: "seeds has 'x'; …".
    """
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not re.fullmatch("[0-9]{1,9}", part):
            raise UsageError(f"seeds has {part!r}; give whole numbers from 0 on with commas between: 123,124,125")
    return tuple(dict.fromkeys(map(int, parts)))
