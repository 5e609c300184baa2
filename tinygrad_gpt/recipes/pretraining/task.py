"""What pretraining trains for, and what its run leaves in its folder.

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
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.data.pretraining import consecutive_batch, random_batch
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.figures.perplexity import measure_perplexity
from tinygrad_gpt.figures.pictures import Curve, draw_curves
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.generate import GenerateConfig, generate
from tinygrad_gpt.recipes.pretraining.config import PretrainConfig
from tinygrad_gpt.recipes.pretraining.corpus import Corpus
from tinygrad_gpt.runs import folder as run_folder
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.run import Task, part_of
from tinygrad_gpt.runs.saved_model import SavedModel, save_model
from tinygrad_gpt.train import Batch

__all__ = ["PretrainTask", "describe", "settings_of"]

EVALUATED_WINDOWS = 200  # of the validation text, about, evenly spaced
SAMPLE_TOKENS = 64  # that the model adds to each prompt of `sample`


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
        CheckpointError: as `runs.folder.settings_of`.
    """
    def config(**settings: Any) -> PretrainConfig:
        lists = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
        return PretrainConfig(**settings | lists)

    return run_folder.settings_of(config, notes, folder)


class PretrainTask(Task):
    """Predict the next token of a text, and stop when that no longer improves.

    Args:
        notes: what config.json holds, or will hold.
        config, corpus, model: as in the notes.

    Attributes:
        n_ctx: tokens in a window.
        best_loss: lowest validation loss so far.
        stale: evaluations since then.
    """

    def __init__(self, notes: dict[str, Any], config: PretrainConfig, corpus: Corpus, model: GPT2):
        self.notes, self.config, self.corpus, self.model = notes, config, corpus, model
        model.recompute = config.recompute
        self.n_ctx = config.n_ctx or model.config.n_ctx
        self.total = config.total_steps(len(corpus.train), self.n_ctx)
        self.warmup = config.warmup_steps(self.total)
        self.best_loss, self.stale = math.inf, 0

    def optimizer(self) -> AdamW:
        return AdamW(self.model.parameters(), self.config.lr, betas=(0.9, self.config.beta2),
                     weight_decay=self.config.weight_decay, decayed_axes=2)

    def rate(self, step: int) -> float:
        config = self.config
        return warmup_cosine(step, self.total, peak=config.lr, warmup=self.warmup,
                             minimum=config.lr / 10 if config.min_lr is None else config.min_lr)

    def batches(self, step: int) -> list[Batch]:
        config = self.config
        settings = {"seed": config.seed, "step": step}
        if config.windows == "consecutive":
            settings["stride"] = config.stride or self.n_ctx
        draw = consecutive_batch if config.windows == "consecutive" else random_batch
        ids, targets = map(default_backend().from_numpy,
                           draw(self.corpus.train, config.windows_per_step, self.n_ctx, **settings))  # (B, T)

        def batch_at(start: int) -> Batch:
            def loss(rows: slice, factor: float) -> Tensor:
                windows = slice(start + rows.start, start + rows.stop)
                mean = self.model.loss(ids[windows], targets[windows])
                return mean if factor == 1 else mean * factor

            return Batch(config.batch_size, lambda rows: (rows.stop - rows.start,), loss)

        return [batch_at(start) for start in range(0, len(ids), config.batch_size)]

    def tokens(self, done: int) -> int:
        return done * self.config.windows_per_step * self.n_ctx

    def scores(self, done: int) -> dict[str, float]:
        """Figures on the validation text; keeps count of how long they have not become better."""
        if (done % self.config.eval_every and done != self.total) or not len(self.corpus.validation):
            return {}
        figures = measure_perplexity(self.model, self.corpus.validation, self.corpus.validation_bytes,
                                     max_windows=EVALUATED_WINDOWS)
        self.stale = 0 if figures.loss < self.best_loss else self.stale + 1
        self.best_loss = min(figures.loss, self.best_loss)
        return {"validation_loss": figures.loss, "perplexity": figures.perplexity,
                "bits_per_byte": figures.bits_per_byte}

    def samples(self, done: int) -> list[str]:
        """What the model writes behind each prompt; the same random numbers every time, so that samples compare."""
        config = self.config
        if not config.sample or (done % (config.sample_every or config.eval_every) and done != self.total):
            return []
        saved = SavedModel(self.model.eval(), self.corpus.tokenizer, (), {})
        written = generate(saved, config.sample, GenerateConfig(max_new_tokens=SAMPLE_TOKENS, seed=config.seed))
        return [completion.prompt + completion.text for completion in written]

    def finished(self, done: int) -> bool:
        """Whether all steps are done, or the validation loss has not become better for too long."""
        return done >= self.total or 0 < self.config.patience <= self.stale

    def logged(self, folder: Path, log: Sequence[Progress]) -> None:
        """With patience, save the model whenever it is the best."""
        if self.config.patience and log[-1].scores and not self.stale:
            self._save_model(folder, log[-1])

    def write(self, folder: Path, log: Sequence[Progress]) -> None:
        if not self.config.patience:
            self._save_model(folder, log[-1])

    def show(self, folder: Path, log: Sequence[Progress]) -> None:
        self._draw_curves(folder, log)
        if self.config.sample:
            run_folder.write_samples(folder, log)

    def state(self) -> dict[str, np.ndarray]:
        tensors = {f"model.{name}": array for name, array in self.model.arrays().items()}
        return tensors | {"best_loss": np.array(self.best_loss), "stale": np.array(self.stale)}

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.model.load_state_dict(part_of(tensors, "model."))
        self.best_loss, self.stale = float(tensors["best_loss"]), int(tensors["stale"])

    def _save_model(self, folder: Path, progress: Progress) -> None:
        """Write model.h5, with the figures of the last step."""
        settings = self.config
        provenance = {
            "recipe": "pretrain", "version": self.notes["version"],
            "sha256": {Path(path).name: digest for path, digest in self.corpus.sources.items()} | self.notes["base"],
            "config": asdict(settings) | {name: [Path(path).name for path in getattr(settings, name)]
                                          for name in ("data", "validation")},
            "step": progress.step, "tokens_seen": progress.tokens, "tokens_in_data": len(self.corpus.train),
            **progress.scores}
        save_model(folder / "model.h5", SavedModel(self.model, self.corpus.tokenizer, (), provenance),
                   np.float16 if settings.float16 else np.float32)

    def _draw_curves(self, folder: Path, log: Sequence[Progress]) -> None:
        judged = [entry for entry in log if entry.scores]
        curves: dict[str, Curve] = {"training": ([entry.step for entry in log], [entry.loss for entry in log])}
        if judged:
            curves["validation"] = ([entry.step for entry in judged],
                                    [entry.scores["validation_loss"] for entry in judged])
        draw_curves(folder / "curves.png", {"loss, nats per token": curves}, x="step",
                    top=("tokens", log[-1].tokens / log[-1].step))
