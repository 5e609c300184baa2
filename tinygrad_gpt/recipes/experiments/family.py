"""Small models in the proportions of GPT-2's four sizes, all trained alike, where OpenAI's weights are not at hand."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.recipes.experiments.config import FAMILY
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig, pretrain, resume
from tinygrad_gpt.runs.folder import holds_run
from tinygrad_gpt.runs.progress import Progress

__all__ = ["describe_family", "train_family"]

ALIKE = PretrainConfig((), vocab_size=4096, n_ctx=256, batch_size=8, lr=1e-3, hold_out=0.05)

Shown = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]


def train_family(texts: tuple[str, ...], steps: int, out: Path, names: Iterable[str], shown: Shown) -> None:
    """Pretrain a model for each name, each in a folder of its own; what was stopped goes on, what is there stays.

    All have the same texts, vocabulary, windows, steps and learning rate; only the sizes differ.

    Args:
        texts: files to learn from.
        steps: optimiser steps of each.
        out: a folder, made if absent.
        names: of those in `FAMILY` that are needed.
        shown: gives, for a title, what is called after each step.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: as `pretrain` and `resume`.
    """
    vocabulary: Path | None = None
    for name, (n_layer, n_embd, n_head) in FAMILY.items():
        if name not in names:
            continue
        own: dict[str, Any] = {"vocab_size": None, "vocabulary": str(vocabulary)} if vocabulary else {}
        config = replace(ALIKE, data=texts, steps=steps, n_layer=n_layer, n_embd=n_embd, n_head=n_head, **own)
        with shown(f"model in place of {name}: {n_layer} blocks of width {n_embd}") as report:
            if holds_run(out / name):
                resume(out / name, {"data": texts, "steps": steps}, report=report)
            else:
                pretrain(config, out / name, report=report)
        vocabulary = vocabulary or out / name / "vocabulary.json"


def describe_family(folder: str | Path, names: Iterable[str]) -> list[str]:
    """A line for each model of a folder: its sizes and how it was trained, as far as its file tells.

    Raises:
        CheckpointError: a file is damaged.
    """
    lines = []
    for name in names:
        if not (file := Path(folder) / name / "model.h5").exists():
            continue
        metadata = native.load_metadata(file)
        sizes, origin = metadata["config"], metadata["provenance"]
        line = f"{name}: {sizes['n_layer']} blocks of width {sizes['n_embd']}, {sizes['n_head']} heads"
        if "tokens_seen" in origin:
            line += f"; {origin['step']:,} steps on {origin['tokens_seen']:,} tokens of {', '.join(origin['sha256'])}"
        if "validation_loss" in origin:
            line += f"; validation loss {origin['validation_loss']:.3f} nats a token"
        lines.append(line)
    return lines
