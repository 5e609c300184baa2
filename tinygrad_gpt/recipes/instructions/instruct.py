"""Finetune a language model to follow instructions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.data.batches import ALL, length_batches
from tinygrad_gpt.data.instructions import IGNORED, Instruction, collate, read_instructions, split_in_order
from tinygrad_gpt.data.prompt_styles import Style, find_style
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.generate import GenerateConfig
from tinygrad_gpt.recipes.instructions.config import TuningConfig, check_choices
from tinygrad_gpt.recipes.instructions.respond import responses, settled_style
from tinygrad_gpt.recipes.instructions.tuning import nothing, resume, start
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import SavedModel, load_model
from tinygrad_gpt.text import Tokenizer

__all__ = ["INSTRUCT_CHOICES", "InstructConfig", "Sequences", "answer_samples", "counted_activations", "encode",
           "finetune_instructions", "masked_tokens", "resume_instructions", "total_loss"]

INSTRUCT_CHOICES = {"loss_on": ("all", "response")}
EVALUATED = 100  # entries of each part, at most, that an evaluation looks at
EVALUATION_BATCH = 16
SAMPLE_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class InstructConfig(TuningConfig):
    """Everything a run depends on; the other fields are those of `TuningConfig`.

    Args:
        loss_on: "all" tokens, prompt included, as the book trains: with few entries and short responses that is
            better (Shi et al. 2024, arXiv:2405.14394); or the "response" and its end only.
    """

    loss_on: str = "all"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, INSTRUCT_CHOICES)


def finetune_instructions(config: InstructConfig, out: str | Path, *, report: Callable[[Progress], None] = nothing,
                          ready: Callable[[], None] = nothing) -> SavedModel:
    """Run the recipe; arguments, result and errors as in `tuning.start`."""
    return start(InstructTask, config, out, report=report, ready=ready)


def resume_instructions(out: str | Path, given: Mapping[str, Any] | None = None, *,
                        report: Callable[[Progress], None] = nothing,
                        ready: Callable[[], None] = nothing) -> SavedModel:
    """Go on with a run that was stopped; as `tuning.resume`."""
    return resume(InstructTask, InstructConfig, out, given, report=report, ready=ready)


@dataclass(frozen=True)
class Sequences:
    """Prompts with responses, in tokens.

    Args:
        tokens: ids of each text, without the end-of-text token.
        prompts: how many of them are the prompt.
        left_out: texts that are not among them, because their prompt alone fills the context.
        truncated: texts among them whose end is not read.
    """

    tokens: list[list[int]]
    prompts: list[int]
    left_out: int
    truncated: int

    def batch(self, rows: Sequence[int] | np.ndarray, eot_id: int, n_ctx: int,
              loss_on: str) -> tuple[np.ndarray, np.ndarray]:
        """Some of them, collated; prompts count if the loss is on "all"."""
        masked = [self.prompts[i] for i in rows] if loss_on == "response" else None
        return collate([self.tokens[i] for i in rows], eot_id, n_ctx, masked)


def encode(tokenizer: Tokenizer, style: Style, entries: Sequence[Instruction], outputs: Sequence[str],
           n_ctx: int) -> Sequences:
    """Prompt and output of each entry; prompts are encoded alone, as they are when the model answers."""
    tokens, prompts, truncated = [], [], 0
    for entry, output in zip(entries, outputs, strict=True):
        prompt = tokenizer.encode(style.prompt([style.request(entry.instruction, entry.input)]))
        if len(prompt) <= n_ctx:
            tokens.append(prompt + tokenizer.encode(output + style.end))
            prompts.append(len(prompt))
            truncated += len(tokens[-1]) > n_ctx
    return Sequences(tokens, prompts, len(entries) - len(tokens), truncated)


def counted_activations(model: GPT2, ids: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Array, np.ndarray]:
    """What the head scores at the positions that count, and at no others.

    Args:
        ids, targets: (B, T), as `collate` makes them.

    Returns:
        Activations behind the last norm (N, C), their targets (N) on the model's backend, and the row (N) of each, on
        the host.
    """
    device = backend_of(model.wte.weight.data)
    rows, places = np.nonzero(targets != IGNORED)
    x = model.hidden(device.from_numpy(ids))[device.from_numpy(rows), device.from_numpy(places)]  # (N, C)
    return model.ln_f(x), device.from_numpy(targets[rows, places]), rows


def total_loss(model: GPT2, sequences: Sequences, eot_id: int, loss_on: str) -> tuple[float, int]:
    """The loss of all tokens that count, in nats, and how many these are."""
    lengths = [len(tokens) for tokens in sequences.tokens]
    batches = length_batches(lengths, EVALUATION_BATCH, seed=0, epoch=0, shuffle=False)
    group, sums = current_group(), np.zeros((len(batches), 2))  # nats and tokens of each batch
    with no_grad():
        for i in range(group.rank, len(batches), group.size):
            ids, targets = sequences.batch(batches[i], eot_id, model.config.n_ctx, loss_on)
            x, counted, _ = counted_activations(model, ids, targets)
            sums[i] = model.head_loss(x, counted).item() * len(counted), len(counted)
    total, count = group.total(sums).sum(axis=0)
    return float(total), int(count)


def answer_samples(saved: SavedModel, style: Style, entries: Sequence[Instruction]) -> list[str]:
    """Instructions with what the model now says to them."""
    config = GenerateConfig(temperature=0, max_new_tokens=SAMPLE_TOKENS)
    return [f"{style.request(entry.instruction, entry.input)}\n>> {completion.text.strip()}"
            for entry, completion in zip(entries, responses(saved, entries, style, config), strict=True)]


class InstructTask:
    """Predict each next token of prompt and response, or of the response; see `tuning.Task`."""

    recipe = "finetune instructions"
    texts = 1

    def __init__(self, config: InstructConfig, model: GPT2, tokenizer: Tokenizer):
        self.config, self.model, self.tokenizer = config, model, tokenizer
        assert config.style is not None  # `tuning.start` has chosen one
        self.style, n_ctx = find_style(config.style), model.config.n_ctx
        parts = split_in_order(read_instructions(config.data, skip_malformed=config.skip_malformed),
                               Path(config.data).name)
        self.train, self.validation = (
            encode(tokenizer, self.style, part, [entry.output for entry in part], n_ctx)
            for part in (parts.train, parts.validation))
        if not self.train.tokens or not self.validation.tokens:
            raise DataError(f"prompts too long ({config.data}): they fill the model's context of {n_ctx} tokens; use "
                            "a model that reads more, or shorter prompts")
        self.asked = parts.validation[:config.samples]
        left_out, truncated = (getattr(self.train, name) + getattr(self.validation, name)
                               for name in ("left_out", "truncated"))
        self.counts = (f"{parts}; {left_out:,} left out because their prompt fills the context, {truncated:,} "
                       f"truncated to {n_ctx:,} tokens")
        self.lengths = np.array([min(len(tokens), n_ctx) for tokens in self.train.tokens])

    def loss(self, rows: np.ndarray, step: int, part: slice = ALL) -> Tensor:
        """Mean over the tokens that count."""
        ids, targets = self._batch(self.train, rows)
        x, counted, _ = counted_activations(self.model, ids[part], targets[part])
        return self.model.head_loss(x, counted)

    def count(self, rows: np.ndarray, part: slice = ALL) -> int:
        """The tokens of a part of some training entries that count."""
        _, targets = self._batch(self.train, rows)
        return int((targets[part] != IGNORED).sum())

    def scores(self) -> dict[str, float]:
        """Loss in nats per token that counts, on both parts."""
        figures = {}
        for name, part in (("training_loss", self.train), ("validation_loss", self.validation)):
            first = Sequences(part.tokens[:EVALUATED], part.prompts[:EVALUATED], 0, 0)
            nats, count = total_loss(self.model.eval(), first, self.tokenizer.eot_id, self.config.loss_on)
            figures[name] = nats / count
        return figures

    def samples(self) -> list[str]:
        """Answers to the first validation entries."""
        saved = SavedModel(self.model.eval(), self.tokenizer, (), {})
        return answer_samples(saved, self.style, self.asked)

    def _batch(self, part: Sequences, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return part.batch(rows, self.tokenizer.eot_id, self.model.config.n_ctx, self.config.loss_on)


def masked_tokens(config: InstructConfig, n: int) -> list[list[tuple[str, bool]]]:
    """The tokens of the first entries as a batch would have them, each with whether its prediction counts.

    Args:
        config: only data, base, style and loss_on matter.
        n: entries.

    Returns:
        For each entry the text of every token, padding included, and whether the loss counts it.
    """
    saved = load_model(config.base)
    style = find_style(settled_style(saved, config.style))
    entries = read_instructions(config.data, skip_malformed=config.skip_malformed)[:n]
    sequences = encode(saved.tokenizer, style, entries, [entry.output for entry in entries], saved.n_ctx)
    if not sequences.tokens:
        raise DataError(f"prompts too long ({config.data}): they fill the model's context of {saved.n_ctx} tokens; use "
                        "a model that reads more, or shorter prompts")
    ids, targets = collate(sequences.tokens, saved.tokenizer.eot_id, saved.n_ctx,
                           sequences.prompts if config.loss_on == "response" else None)
    result = []
    for row, row_targets in zip(ids, targets, strict=True):
        last = row_targets[-1] if row_targets[-1] != IGNORED else saved.tokenizer.eot_id
        counts = [False, *(row_targets != IGNORED)]  # nothing comes before the first token
        result.append([(saved.tokenizer.decode([int(i)]), bool(c))
                       for i, c in zip([*row, last], counts, strict=True)])
    return result
