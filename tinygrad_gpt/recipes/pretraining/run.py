"""A pretraining run, in memory and in its folder.

    config.json                      what was asked for, the sizes of the model, the digests of texts and tokens
    vocabulary.json                  the vocabulary
    tokens.npy validation.npy        the texts in tokens, made once
    state-a.h5 state-b.h5            the two newest states to resume from
    log.jsonl                        a line for every step
    model.h5                         the model after the newest checkpoint; with patience, the best so far
    curves.png samples.txt           drawn from the log
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.figures.pictures import Curve, draw_curves
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.recipes.pretraining.config import PretrainConfig
from tinygrad_gpt.recipes.pretraining.corpus import Corpus
from tinygrad_gpt.runs.folder import States, run_digest
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import SavedModel, save_model
from tinygrad_gpt.train import LossScale

__all__ = ["Run", "describe", "settings_of"]


def describe(config: PretrainConfig, model: GPT2, corpus: dict[str, Any], base: dict[str, str]) -> dict[str, Any]:
    """What config.json holds: JSON values that say all that a run is.

    Args:
        config, model: settings, and the model that they made.
        corpus: what `save_corpus` returned.
        base: sha256 of the file of the base, by name; empty without one.
    """
    return {"version": __version__, "config": asdict(config), "model": model.config.to_dict(), "corpus": corpus,
            "base": base}


def settings_of(notes: dict[str, Any], folder: Path) -> PretrainConfig:
    """The settings in a run's config.json.

    Raises:
        CheckpointError: `cannot resume (run): its settings are of another version …`
    """
    try:
        settings: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                    for name, value in notes["config"].items()}
        return PretrainConfig(**settings)
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"cannot resume ({folder}): its settings are of another version ({error}); use that "
                              "version, or start a new run in another folder") from error


class Run:
    """What a run works on: settings, text, model, optimiser, and how good it has been.

    Args:
        folder: where it lives.
        notes: what config.json holds, or will hold.
        config, corpus, model: as in the notes.

    Attributes:
        n_ctx, total: tokens in a window, optimiser steps of the whole run; ``optimizer.steps`` are done.
        loss_scale: in float16; else None.
        best_loss: lowest validation loss so far.
        stale: evaluations since then.
    """

    def __init__(self, folder: Path, notes: dict[str, Any], config: PretrainConfig, corpus: Corpus, model: GPT2):
        self.folder, self.notes, self.config, self.corpus, self.model = folder, notes, config, corpus, model
        model.recompute = config.recompute
        self.n_ctx = config.n_ctx or model.config.n_ctx
        self.total = config.total_steps(len(corpus.train), self.n_ctx)
        self.optimizer = AdamW(model.parameters(), config.lr, betas=(0.9, config.beta2),
                               weight_decay=config.weight_decay)
        self.loss_scale = LossScale() if config.precision == "float16" else None
        self.best_loss, self.stale = math.inf, 0
        self._states = States(folder, run_digest(notes))

    @property
    def finished(self) -> bool:
        """Are all steps done, or has the validation loss not become better for too long?"""
        return self.optimizer.steps >= self.total or 0 < self.config.patience <= self.stale

    def save_state(self) -> None:
        """Write all that the next step depends on."""
        tensors = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": array for name, array in self.optimizer.state_dict().items()}
        if self.loss_scale:
            tensors |= {f"loss_scale.{name}": array for name, array in self.loss_scale.state_dict().items()}
        tensors |= {"best_loss": np.array(self.best_loss), "stale": np.array(self.stale)}
        self._states.save(self.optimizer.steps, tensors)

    def restore(self) -> None:
        """Go back to the newest state.

        Raises:
            CheckpointError: as `States.load`.
        """
        tensors = self._states.load()
        if missing := {"best_loss", "stale"} - set(tensors):
            raise CheckpointError(f"cannot resume ({self.folder}): the state lacks {' and '.join(sorted(missing))}; "
                                  "start a new run in another folder")
        model, optimizer, scale = ({name.removeprefix(kind): array for name, array in tensors.items()
                                    if name.startswith(kind)} for kind in ("model.", "optimizer.", "loss_scale."))
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        if self.loss_scale:
            self.loss_scale.load_state_dict(scale)
        self.best_loss, self.stale = float(tensors["best_loss"]), int(tensors["stale"])

    def save_model(self, progress: Progress) -> None:
        """Write model.h5, with the figures of the last step."""
        settings = self.config
        provenance = {
            "recipe": "pretrain", "version": self.notes["version"],
            "sha256": {Path(path).name: digest for path, digest in self.corpus.sources.items()} | self.notes["base"],
            "config": asdict(settings) | {name: [Path(path).name for path in getattr(settings, name)]
                                          for name in ("data", "validation")},
            "step": progress.step, "tokens_seen": progress.tokens, "tokens_in_data": len(self.corpus.train),
            **progress.scores}
        save_model(self.folder / "model.h5", SavedModel(self.model, self.corpus.tokenizer, (), provenance),
                   np.float16 if settings.float16 else np.float32)

    def checkpoint(self, log: Sequence[Progress]) -> None:
        """Write what the folder holds about the steps so far, the state last: it vouches for the rest."""
        if not self.config.patience:
            self.save_model(log[-1])
        self._draw_curves(log)
        if self.config.sample:
            texts = [f"--- after step {entry.step:,}\n\n{text}\n" for entry in log for text in entry.samples]
            write_atomic(self.folder / "samples.txt", "\n".join(texts).encode(errors="replace"))
        self.save_state()

    def _draw_curves(self, log):
        judged = [entry for entry in log if entry.scores]
        curves: dict[str, Curve] = {"training": ([entry.step for entry in log], [entry.loss for entry in log])}
        if judged:
            curves["validation"] = ([entry.step for entry in judged],
                                    [entry.scores["validation_loss"] for entry in judged])
        draw_curves(self.folder / "curves.png", {"loss, nats per token": curves}, x="step",
                    top=("tokens", log[-1].tokens / log[-1].step))
