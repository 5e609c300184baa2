"""What a pretraining run depends on."""

from dataclasses import dataclass

from tinygrad_gpt.backend.precision import POLICIES
from tinygrad_gpt.data.pretraining import steps_per_epoch
from tinygrad_gpt.errors import UsageError

__all__ = ["CHOICES", "PretrainConfig"]

CHOICES = {"tokenizer": ("bpe", "characters"), "init": ("gpt2", "book"), "windows": ("random", "consecutive"),
           "precision": tuple(POLICIES)}


@dataclass(frozen=True)
class PretrainConfig:
    """Everything a run depends on. None means what the last words of an entry say.

    Args:
        data: text files (.txt, .txt.xz, .txt.gz) to learn from; a line ``<|endoftext|>`` ends a document.
        validation: text files to measure the model on; may be empty.
        hold_out: share of the characters at the end of each data file that are held back to measure the model on.
        tokenizer: "bpe" or "characters": the vocabulary to train on the data.
        vocab_size: of that vocabulary at most; 4096, or as many characters as there are.
        vocabulary: a vocabulary to use instead: a saved model, a vocabulary file, or a folder with GPT-2's two files.
        base: a saved model whose weights, sizes and vocabulary to start from.
        n_ctx: tokens in a window, and the context of a new model; 256, or the context of the base, which grows to
            n_ctx if that is more.
        n_embd, n_layer, n_head: sizes of a new model; 192, 4 and 4. With a base n_layer may be a multiple of its
            blocks, to which it grows.
        qkv_bias, tied_head: of a new model, as in `GPT2Config`.
        init: "gpt2" or "book", the initial values of a new model.
        dropout: probability, while training.
        windows: "random" places, or "consecutive" ones in an order that is shuffled for each epoch.
        stride: tokens from one consecutive window to the next; n_ctx.
        batch_size, accumulate: windows computed together, and how many times that in an optimiser step.
        steps: optimiser steps; 3000, or as many as ``epochs`` has.
        epochs: passes over the consecutive windows.
        lr, min_lr: AdamW's peak rate, and where the cosine ends; a tenth of the peak.
        warmup: steps before the peak; 100, or a tenth of the steps if that is less.
        beta2, weight_decay, max_norm: AdamW's second decay rate and weight decay, and the norm to clip gradients to.
        precision: in which layers compute, one of `POLICIES`; weights and optimiser stay in float32.
        recompute: forget what is inside a block and compute it again for the gradient: less memory, more time.
        seed: of the initial values, the windows, the dropout masks and the samples.
        eval_every, save_every: steps between evaluations, and between checkpoints.
        patience: evaluations without a better validation loss after which the run ends; 0 never ends it. With
            patience, the model that is kept is the best one.
        sample, sample_every: prompts to continue while training, and steps between; ``eval_every``.
        float16: store the weights of the model in half precision.
    """

    data: tuple[str, ...]
    validation: tuple[str, ...] = ()
    hold_out: float = 0.0
    tokenizer: str = "bpe"
    vocab_size: int | None = None
    vocabulary: str | None = None
    base: str | None = None
    n_ctx: int | None = None
    n_embd: int | None = None
    n_layer: int | None = None
    n_head: int | None = None
    qkv_bias: bool = True
    tied_head: bool = True
    init: str = "gpt2"
    dropout: float = 0.0
    windows: str = "random"
    stride: int | None = None
    batch_size: int = 16
    accumulate: int = 1
    steps: int | None = None
    epochs: int | None = None
    lr: float = 2e-3
    min_lr: float | None = None
    warmup: int | None = None
    beta2: float = 0.99
    weight_decay: float = 0.1
    max_norm: float = 1.0
    precision: str = "float32"
    recompute: bool = False
    seed: int = 0
    eval_every: int = 250
    save_every: int = 250
    patience: int = 0
    sample: tuple[str, ...] = ()
    sample_every: int | None = None
    float16: bool = False

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        new_model = {name: getattr(self, name) for name in ("vocab_size", "n_embd", "n_layer", "n_head")}
        new_model |= {"qkv_bias": not self.qkv_bias, "tied_head": not self.tied_head, "init": self.init != "gpt2",
                      "tokenizer": self.tokenizer != "bpe", "vocabulary": self.vocabulary}
        own = [name for name in ("vocab_size", "tokenizer") if new_model[name]]
        given = [name for name, value in new_model.items() if value and name != "n_layer"]
        for wrong, why in (
            (self.base is not None and given,
             f"{' and '.join(given)} cannot be chosen: the base brings its own; leave them out"),
            (self.vocabulary is not None and own,
             f"{' and '.join(own)} cannot be chosen beside a vocabulary; leave them out"),
            (self.hold_out and self.validation, "both validation files and a share to hold out; leave one out"),
            (not 0 <= self.hold_out < 1,
             f"hold_out is {self.hold_out}, expected a share from 0 to below 1; give 0.1, say"),
            (self.steps is not None and self.epochs is not None, "both steps and epochs; leave one out"),
            (self.windows == "random" and self.epochs is not None,
             "random windows have no epochs; give steps, or take consecutive windows"),
            (self.windows == "random" and self.stride is not None,
             "random windows have no stride; take consecutive windows"),
            (self.beta2 >= 1, f"beta2 is {self.beta2}, expected less than 1; give 0.99, say"),
            (self.min_lr is not None and self.min_lr > self.lr,
             f"min_lr is {self.min_lr}, above lr = {self.lr}; lower it"),
            (self.patience and not (self.validation or self.hold_out),
             "patience without a validation text; give one, or a share to hold out"),
            (self.sample_every is not None and not self.sample, "sample_every without a prompt in sample; give one"),
        ):
            if wrong:
                raise UsageError(f"settings that do not fit together (pretrain): {why}")

    @property
    def windows_per_step(self) -> int:
        """Windows that an optimiser step learns from."""
        return self.batch_size * self.accumulate

    def total_steps(self, n_tokens: int, n_ctx: int) -> int:
        """Optimiser steps of the whole run on a text of ``n_tokens``, in windows of ``n_ctx``.

        Raises:
            DataError: as `steps_per_epoch`.
        """
        if self.epochs is None:
            return 3000 if self.steps is None else self.steps
        return self.epochs * steps_per_epoch(n_tokens, self.windows_per_step, n_ctx, self.stride or n_ctx)

    def warmup_steps(self, total: int) -> int:
        """Steps of warm-up in a run of ``total``."""
        return min(100, total // 10) if self.warmup is None else self.warmup
