"""Direct preference optimisation: make preferred responses likelier, measured against the model as it was.

    loss = −ln σ(β · margin),   margin = (p(chosen) − p₀(chosen)) − (p(rejected) − p₀(rejected))

with p the log-probability of a response under the model, and p₀ under the model before. Its gradient is composed of
that of the ops below.

Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.data.batches import ALL, length_batches
from tinygrad_gpt.data.instructions import IGNORED, collate, split_in_order
from tinygrad_gpt.data.preferences import Preference, read_preferences
from tinygrad_gpt.data.prompt_styles import find_style
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.instructions.config import TuningConfig, check_choices
from tinygrad_gpt.recipes.instructions.instruct import (
    EVALUATED,
    EVALUATION_BATCH,
    answer_samples,
    counted_activations,
    encode,
)
from tinygrad_gpt.recipes.instructions.tuning import nothing, resume, start
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Tokenizer

__all__ = ["PREFERENCE_CHOICES", "PreferenceConfig", "dpo_loss", "finetune_preferences", "log_probabilities",
           "resume_preferences"]

PREFERENCE_CHOICES = {"log_probability": ("mean", "sum")}


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(TuningConfig):
    """Everything a run depends on; the other fields are those of `TuningConfig`.

    Args:
        beta: penalty for moving away from the starting model.
        log_probability: of a response, the "mean" over its tokens, as in the notebook of the book's author, so that
            length does not matter, or the "sum", as in the article. The end-of-text token is not among them.
    """

    epochs: int = 1
    lr: float = 5e-5
    beta: float = 0.1
    log_probability: str = "mean"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, PREFERENCE_CHOICES)
        if not self.beta > 0:
            raise UsageError(f"beta is {self.beta}, expected above 0")


def finetune_preferences(config: PreferenceConfig, out: str | Path, *, report: Callable[[Progress], None] = nothing,
                         ready: Callable[[], None] = nothing) -> SavedModel:
    """Run the recipe; arguments, result and errors as in `tuning.start`."""
    return start(PreferenceTask, config, out, report=report, ready=ready)


def resume_preferences(out: str | Path, given: Mapping[str, Any] | None = None, *,
                       report: Callable[[Progress], None] = nothing,
                       ready: Callable[[], None] = nothing) -> SavedModel:
    """Go on with a run that was stopped; as `tuning.resume`."""
    return resume(PreferenceTask, PreferenceConfig, out, given, report=report, ready=ready)


def log_probabilities(model: GPT2, ids: np.ndarray, targets: np.ndarray, *, mean: bool) -> Tensor:
    """Log-probability (B) of the targets that count, summed up in each row, or their mean.

    Args:
        ids, targets: (B, T), as `collate` makes them; each row has a target that counts.
    """
    x, picked, rows = counted_activations(model, ids, targets)
    device = backend_of(x.data)
    each = ops.log_softmax(model.head(x))[device.xp.arange(len(rows)), picked]  # (N,)
    adding = (rows == np.arange(len(ids))[:, None]).astype(str(each.dtype))  # (B, N), 1 where the row is the token's
    if mean:
        adding /= adding.sum(axis=1, keepdims=True)
    return ops.matmul(device.from_numpy(adding), each.reshape(-1, 1)).reshape(-1)


def dpo_loss(chosen: Tensor, rejected: Tensor, chosen_before: Tensor, rejected_before: Tensor, beta: float) -> Tensor:
    """The loss (), mean over pairs, of the log-probabilities (B) of both responses, now and before."""
    margin = (chosen - chosen_before) - (rejected - rejected_before)
    z = margin * -beta
    return ops.logsumexp(ops.stack(z, z * 0.0), axis=0).mean()  # −ln σ(−z) = ln(1 + eᶻ), without overflow


class _Pairs:
    """Tokens of prompts with both responses, and the log-probabilities (N, 2) of those before training."""

    def __init__(self, task: "PreferenceTask", entries: Sequence[Preference]):
        n_ctx = task.model.config.n_ctx
        self.chosen, self.rejected = (
            encode(task.tokenizer, task.style, entries, [getattr(entry, kind) for entry in entries], n_ctx)
            for kind in ("chosen", "rejected"))
        self.lengths = np.array([min(max(map(len, both)), n_ctx)
                                 for both in zip(self.chosen.tokens, self.rejected.tokens, strict=True)])
        self.truncated = self.chosen.truncated + self.rejected.truncated
        self.before = np.zeros((len(self.lengths), 2), np.float32)


class PreferenceTask:
    """Prefer the chosen response to the rejected one; see `tuning.Task`."""

    recipe = "finetune preferences"
    texts = 2

    def __init__(self, config: PreferenceConfig, model: GPT2, tokenizer: Tokenizer):
        self.config, self.model, self.tokenizer = config, model, tokenizer
        assert config.style is not None  # `tuning.start` has chosen one
        self.style, n_ctx = find_style(config.style), model.config.n_ctx
        parts = split_in_order(read_preferences(config.data, skip_malformed=config.skip_malformed),
                               Path(config.data).name)
        self.train, self.validation = _Pairs(self, parts.train), _Pairs(self, parts.validation)
        if not len(self.train.lengths) or not len(self.validation.lengths):
            raise DataError(f"prompts too long ({config.data}): they fill the model's context of {n_ctx} tokens; use "
                            "a model that reads more, or shorter prompts")
        self.asked = parts.validation[:config.samples]
        self.lengths = self.train.lengths
        left_out = self.train.chosen.left_out + self.validation.chosen.left_out
        self.counts = (f"{parts}; {left_out:,} left out because their prompt fills the context, "
                       f"{self.train.truncated + self.validation.truncated:,} responses truncated")
        for pairs in (self.train, self.validation):
            for part in (slice(EVALUATED), slice(EVALUATED, None)):  # the first in the batches of `scores`: then the
                rows, pairs_now = self._evaluated(pairs, part)  # margins before training are exactly 0
                pairs.before[rows] = pairs_now

    def loss(self, rows: np.ndarray, step: int, part: slice = ALL) -> Tensor:
        """`dpo_loss` of a part of some pairs."""
        values = self._log_probabilities(self.train, rows, part)
        chosen, rejected = (Tensor(backend_of(values.data).from_numpy(before))
                            for before in self.train.before[rows[part]].T.copy())
        return dpo_loss(values[:, 0], values[:, 1], chosen, rejected, self.config.beta)

    def count(self, rows: np.ndarray, part: slice = ALL) -> int:
        """The number of pairs."""
        return len(rows[part])

    def scores(self) -> dict[str, float]:
        """Loss, margin in nats, and the share of pairs whose margin is above 0, on both parts.

        The margin is that of the notebook: without the factor beta.
        """
        figures = {}
        for name, pairs in (("training", self.train), ("validation", self.validation)):
            rows, values = self._evaluated(pairs, slice(EVALUATED))
            gains = (values - pairs.before[rows]).astype(np.float64)
            margins = gains[:, 0] - gains[:, 1]
            figures[f"{name}_loss"] = float(np.logaddexp(0, -self.config.beta * margins).mean())
            figures[f"{name}_margin"] = float(margins.mean())
            figures[f"{name}_preferred"] = float((margins > 0).mean())
        return figures

    def samples(self) -> list[str]:
        """Answers to the first validation entries."""
        saved = SavedModel(self.model.eval(), self.tokenizer, (), {})
        return answer_samples(saved, self.style, self.asked)

    def _log_probabilities(self, pairs: _Pairs, rows: np.ndarray, part: slice = ALL) -> Tensor:
        """(B, 2): of the chosen and the rejected response of each of a part of some pairs."""
        tokens = [kind.tokens[i] for i in rows for kind in (pairs.chosen, pairs.rejected)]
        prompts = [kind.prompts[i] for i in rows for kind in (pairs.chosen, pairs.rejected)]
        ids, targets = (array.reshape(len(rows), 2, -1)[part].reshape(-1, array.shape[1]) for array in
                        collate(tokens, self.tokenizer.eot_id, self.model.config.n_ctx, prompts))
        targets[targets == self.tokenizer.eot_id] = IGNORED
        mean = self.config.log_probability == "mean"
        return log_probabilities(self.model, ids, targets, mean=mean).reshape(-1, 2)

    def _evaluated(self, pairs: _Pairs, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Rows (N) of a part of the pairs, and the log-probabilities (N, 2) of their responses now."""
        self.model.eval()
        numbers, group = np.arange(len(pairs.lengths))[part], current_group()
        batches = length_batches(pairs.lengths[part], EVALUATION_BATCH, seed=0, epoch=0, shuffle=False)
        values = np.zeros((len(numbers), 2), np.float32)
        for batch in batches[group.rank::group.size]:
            with no_grad():
                values[batch] = self._log_probabilities(pairs, numbers[batch]).numpy()
        return numbers, group.total(values)
