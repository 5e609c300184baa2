"""What a training run tells, step by step."""

from dataclasses import dataclass, field

__all__ = ["Preparation", "Progress"]


@dataclass(frozen=True)
class Preparation:
    """What a run is busy with before its first step, ``done`` of ``total`` in some unit, or neither."""

    what: str
    done: int = 0
    total: int = 0
    unit: str = "characters"


@dataclass(frozen=True)
class Progress:
    """What a training run reports after each step.

    Args:
        step, total: steps done, and of the whole run.
        loss: of this step, in nats.
        norm: global gradient norm before clipping.
        lr: learning rate of this step.
        tokens: tokens that the run has computed so far.
        seconds: since the run began or was resumed.
        scores: what an evaluation after this step found, by name; empty without one.
        samples: texts that the model wrote after this step, prompts included.
    """

    step: int
    total: int
    loss: float
    norm: float
    lr: float
    tokens: int
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
