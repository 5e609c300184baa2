"""What every run depends on that tunes a language model on instructions."""

from collections.abc import Mapping
from dataclasses import dataclass

from tinygrad_gpt.backend.precision import POLICIES
from tinygrad_gpt.data.prompt_styles import STYLES
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.lora import BLOCK_LAYERS
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE

__all__ = ["CHOICES", "TuningConfig", "check_choices"]

CHOICES = {"style": tuple(STYLES), "train": ("all", "lora"), "schedule": ("cosine", "constant"),
           "precision": tuple(POLICIES)}


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """Settings of `finetune instructions`, `finetune preferences` and `finetune reward`.

    Args:
        data: entries in one file; 85 % are trained on, see `split_in_order`.
        base: any model that `load_model` takes; of a classifier the language model.
        style: how an entry becomes text, one of `STYLES`; None: as the base was tuned, or "alpaca".
        train: "all" layers, or "lora".
        rank, alpha, targets: of LoRA, as in `apply_lora`, the targets with commas between.
        epochs: passes over the training entries.
        batch_size, accumulate: entries computed together, and how many times that in an optimiser step.
        lr, schedule: AdamW's peak rate, and its course: "cosine" (a tenth of the run is warm-up, then down to 0) or
            "constant".
        weight_decay, max_norm: AdamW's decay, and the global norm to which gradients are clipped.
        dropout: of the model while it is tuned.
        precision: in which layers compute meanwhile, one of `POLICIES`; weights and optimiser stay in float32.
        seed: of the order of the entries, the dropout masks and LoRA's initial values.
        eval_every, save_every: steps between evaluations, and between states to resume from.
        samples: validation entries that the model answers at every evaluation.
        float16: store the weights in half precision.
        skip_malformed: leave malformed entries out, and count them.
    """

    data: str
    base: str = SHIPPED_BASE
    style: str | None = None
    train: str = "all"
    rank: int = 16
    alpha: float = 16.0
    targets: str = ",".join(BLOCK_LAYERS)
    epochs: int = 2
    batch_size: int = 8
    accumulate: int = 1
    lr: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 0.1
    max_norm: float = 1.0
    dropout: float = 0.0
    precision: str = "float32"
    seed: int = 123
    eval_every: int = 50
    save_every: int = 50
    samples: int = 3
    float16: bool = False
    skip_malformed: bool = False

    def __post_init__(self):
        check_choices(self, CHOICES)


def check_choices(config: TuningConfig, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a value that is neither None nor among its choices.

    Raises:
        UsageError: "train is 'some'; choose one of all, lora".
    """
    for name, allowed in choices.items():
        if getattr(config, name) not in (None, *allowed):
            raise UsageError(f"{name} is {getattr(config, name)!r}; choose one of {', '.join(allowed)}")
