"""Reinforcement learning with a reward that can be checked: make right answers likelier.

To each prompt a group of responses is drawn. A response earns the reward r = 1 if its answer is the expected one, else
0, and its advantage a is r minus the mean reward of its group: what was better than usual becomes likelier, what was
worse, less likely. A group that is all right or all wrong teaches nothing.

    loss = −mean over responses of a · ln p(response)

With ln p summed over the tokens that were drawn, its gradient is an unbiased estimate of the gradient of −E[r]. It is
composed of those of the ops below: ∂loss/∂ln p(response) = −a / N.

Source: Williams 1992, doi:10.1007/BF00992696 (REINFORCE with a baseline); Shao et al. 2024, arXiv:2402.03300 (GRPO: the
    baseline is the mean of a group); Liu et al. 2025, arXiv:2503.20783 (without division by lengths and deviations).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.data.batches import ALL
from tinygrad_gpt.data.instructions import IGNORED, collate, read_instructions, split_in_order
from tinygrad_gpt.data.prompt_styles import find_style
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.generate import Completion, GenerateConfig
from tinygrad_gpt.recipes.instructions.answers import is_right
from tinygrad_gpt.recipes.instructions.config import TuningConfig
from tinygrad_gpt.recipes.instructions.instruct import answer_samples, encode
from tinygrad_gpt.recipes.instructions.preferences import log_probabilities
from tinygrad_gpt.recipes.instructions.respond import responses
from tinygrad_gpt.recipes.instructions.tuning import nothing, resume, start
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Tokenizer

__all__ = ["RewardConfig", "advantages", "finetune_reward", "policy_loss", "resume_reward"]

EVALUATED = 200  # entries of each part, at most


@dataclass(frozen=True, kw_only=True)
class RewardConfig(TuningConfig):
    """Everything a run depends on; the other fields are those of `TuningConfig`.

    Args:
        group: responses to each prompt.
        temperature: they are drawn with.
        max_new_tokens: of a response.
    """

    epochs: int = 1
    lr: float = 1e-4
    group: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 64

    def __post_init__(self):
        super().__post_init__()
        if self.group < 2:
            raise UsageError(f"group is {self.group}; a response is compared with others, expected 2 or above")
        if not self.temperature > 0:
            raise UsageError(f"temperature is {self.temperature}; at 0 all responses are the same, expected above 0")


def finetune_reward(config: RewardConfig, out: str | Path, *, report: Callable[[Progress], None] = nothing,
                    ready: Callable[[], None] = nothing) -> SavedModel:
    """Run the recipe; arguments, result and errors as in `tuning.start`."""
    return start(RewardTask, config, out, report=report, ready=ready)


def resume_reward(out: str | Path, given: Mapping[str, Any] | None = None, *,
                  report: Callable[[Progress], None] = nothing,
                  ready: Callable[[], None] = nothing) -> SavedModel:
    """Go on with a run that was stopped; as `tuning.resume`."""
    return resume(RewardTask, RewardConfig, out, given, report=report, ready=ready)


def advantages(rewards: np.ndarray) -> np.ndarray:
    """Rewards (B, G) of groups, minus the mean of each group."""
    return rewards - rewards.mean(axis=1, keepdims=True)


def policy_loss(log_probability: Tensor, advantage: np.ndarray) -> Tensor:
    """The loss () of the log-probabilities (N) of responses, with their advantages (N)."""
    weights = np.asarray(advantage, str(log_probability.dtype))
    return -(log_probability * Tensor(backend_of(log_probability.data).from_numpy(weights))).mean()


class RewardTask:
    """Answer prompts, and make what was right likelier; see `tuning.Objective`."""

    recipe = "finetune reward"

    def __init__(self, config: RewardConfig, model: GPT2, tokenizer: Tokenizer):
        assert config.style is not None  # `tuning.start` has chosen one
        self.config, self.model, self.tokenizer = config, model, tokenizer
        self.texts, self.style = config.group, find_style(config.style)
        room = model.config.n_ctx - config.max_new_tokens
        parts = split_in_order(read_instructions(config.data, skip_malformed=config.skip_malformed),
                               Path(config.data).name)
        self.train, self.validation = ([entry for entry in part if self._length(entry) <= room]
                                       for part in (parts.train, parts.validation))
        if not self.train or not self.validation:
            raise DataError(f"prompts too long ({config.data}): with {config.max_new_tokens} new tokens they do not "
                            f"fit into the model's context of {model.config.n_ctx}; lower max_new_tokens, use a model "
                            "that reads more, or shorter prompts")
        left_out = len(parts.train) + len(parts.validation) - len(self.train) - len(self.validation)
        self.counts = f"{parts}; {left_out:,} left out because their prompt and a response do not fit into the context"
        self.lengths = np.array([self._length(entry) + config.max_new_tokens for entry in self.train])

    def loss(self, rows: np.ndarray, step: int, part: slice = ALL) -> Tensor:
        """`policy_loss` of a group of responses to each of a part of some entries; the draws depend on seed and step.

        With dropout, whose masks depend on the length of the batch, that is the longest that the responses could have.
        """
        entries = [self.train[row] for row in rows[part]]
        longest = int(self.lengths[rows].max()) if self.config.dropout else 0
        drawn = self._draw(entries, step)
        rewards = np.array([[is_right(completion.text, entry.output) for completion in group]
                            for entry, group in zip(entries, drawn, strict=True)], np.float64)  # (B, G)
        ids, targets = self._batch([completion for group in drawn for completion in group], longest)
        return policy_loss(log_probabilities(self.model, ids, targets, mean=False), advantages(rewards).reshape(-1))

    def count(self, rows: np.ndarray, part: slice = ALL) -> int:
        """The number of entries."""
        return len(rows[part])

    def scores(self) -> dict[str, float]:
        """The share of right answers to the likeliest responses, on both parts; the loss is that of wrong ones."""
        figures: dict[str, float] = {}
        config = GenerateConfig(temperature=0, max_new_tokens=self.config.max_new_tokens)
        saved, group = SavedModel(self.model.eval(), self.tokenizer, (), {}), current_group()
        for name, part in (("training", self.train[:EVALUATED]), ("validation", self.validation[:EVALUATED])):
            own = part[group.own(len(part))]
            right = [is_right(completion.text, entry.output)
                     for completion, entry in zip(responses(saved, own, self.style, config), own, strict=True)]
            share = float(group.total(np.array(float(sum(right))))) / len(part)
            figures |= {f"{name}_loss": 1 - share, f"{name}_right": share}
        return figures

    def samples(self) -> list[str]:
        """Answers to the first validation entries."""
        saved = SavedModel(self.model.eval(), self.tokenizer, (), {})
        return answer_samples(saved, self.style, self.validation[:self.config.samples])

    def _length(self, entry) -> int:
        """Tokens of an entry's prompt."""
        return encode(self.tokenizer, self.style, [entry], [""], self.model.config.n_ctx + 1).prompts[0]

    def _draw(self, entries: Sequence, step: int) -> list[list[Completion]]:
        """A group of responses to each entry."""
        config, training = self.config, self.model.training
        seed = int(np.random.SeedSequence([config.seed, step]).generate_state(1)[0])
        drawing = GenerateConfig(temperature=config.temperature, top_p=None, n_samples=config.group, seed=seed,
                                 max_new_tokens=config.max_new_tokens)
        drawn = responses(SavedModel(self.model.eval(), self.tokenizer, (), {}), entries, self.style, drawing)
        self.model.train(training)
        return [drawn[i:i + config.group] for i in range(0, len(drawn), config.group)]

    def _batch(self, drawn: Sequence[Completion], longest: int) -> tuple[np.ndarray, np.ndarray]:
        """ids and targets (N, T) of responses behind their prompts; the tokens that were drawn count.

        T is the length of the longest text, and at least ``longest``.
        """
        prompts = [self.tokenizer.encode(completion.prompt) for completion in drawn]
        texts = [[*prompt, *completion.ids[:-1 if completion.stopped_by == "end of text" else None]]
                 for prompt, completion in zip(prompts, drawn, strict=True)]
        ids, targets = collate(texts, self.tokenizer.eot_id, self.model.config.n_ctx, [len(p) for p in prompts],
                               longest)
        for row, (text, completion) in enumerate(zip(texts, drawn, strict=True)):
            if completion.stopped_by != "end of text":
                targets[row, len(text) - 1] = IGNORED  # no end was drawn
        return ids, targets
