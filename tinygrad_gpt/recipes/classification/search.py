"""A search for settings: what may be tried, what was, and the time that is left."""

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.runs.saved_model import is_encoder

__all__ = ["FILE", "SETTINGS", "Search", "Trial", "holds_search"]

FILE = "budget.json"
MEAN = {"read": "mean", "no_causal_mask": True, "lm_weight": 0.0, "lr": 1e-3}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "decoder": {
        "mean of all tokens, no causal mask": MEAN,
        "the same, pretrained on the texts": {**MEAN, "pretrain_epochs": 3},
        "the same, rates that fall with depth": {**MEAN, "pretrain_epochs": 3, "layer_decay": 0.8},
        "last token, language-model loss": {"lr": 5e-4, "lm_weight": 1.0},
        "mean of all tokens, averaged weights": {**MEAN, "average": 1},
        "mean of all tokens, half the rate": {**MEAN, "lr": 5e-4},
    },
    "encoder": {
        "mean of all tokens": {},
        "the same, twice the rate": {"lr": 2e-4},
        "the same, rates that fall with depth": {"layer_decay": 0.8},
        "the same, averaged weights": {"average": 1},
        "the same, half the rate": {"lr": 5e-5},
        "the same, pretrained on the texts": {"pretrain_epochs": 3},
    },
}
FEWEST_STEPS = 60  # of a trial
MOST_EPOCHS = 20
FIRST_ROUND = 0.4  # share of the time for the first round
SAFE = 0.8  # share of the time that is left which the first trial may take, as the probe has it


@dataclass
class Trial:
    """A setting that was tried.

    Args:
        setting: its name.
        changes: the settings that it changes.
        epochs: passes over the texts.
        accuracy, log_loss: on the validation texts; None while it is under way, or if its time was over.
        seconds: that it took.
    """

    setting: str
    changes: dict[str, Any]
    epochs: int
    accuracy: float | None = None
    log_loss: float | None = None
    seconds: float = 0.0

    @property
    def order(self) -> tuple[float, float]:
        """What is larger is better."""
        return (-1.0, 0.0) if self.accuracy is None else (self.accuracy, -(self.log_loss or 0.0))


@dataclass
class Search:
    """A search for settings, and the folder that it can be resumed from.

    Args:
        folder: where it is.
        config: what all trials share.
        seconds: the stated time.
        given: names of settings that no trial changes.
        epoch_seconds: how long a pass over the texts takes without the language-model loss, as far as is known.
        steps: optimiser steps of a pass.
        first, epochs: names of the settings of the first round, and its epochs.
        baseline: accuracy, log_loss and seconds of a bag of words on the validation texts; empty without scikit-learn.
        spent: seconds so far.
        trials: in the order in which they were begun.
    """

    folder: Path
    config: FinetuneConfig
    seconds: float
    given: Sequence[str]
    epoch_seconds: float = 0.0
    steps: int = 0
    first: list[str] = field(default_factory=list)
    epochs: int = 0
    baseline: dict[str, float] = field(default_factory=dict)
    spent: float = 0.0
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self):
        self.started = time.monotonic() - self.spent

    @property
    def left(self) -> float:
        """Seconds that are left for trials: the bag of words is fitted once more, and all texts are judged."""
        kept = 1.2 * self.baseline.get("seconds", 0.0) + 0.6 * self.epoch_seconds + 2
        return self.seconds - kept - (time.monotonic() - self.started)

    def save(self) -> None:
        """Write budget.json."""
        self.spent = time.monotonic() - self.started
        notes = {"config": asdict(self.config), "seconds": self.seconds, "given": list(self.given),
                 "epoch_seconds": self.epoch_seconds, "steps": self.steps, "first": self.first,
                 "epochs": self.epochs, "baseline": self.baseline, "spent": self.spent,
                 "trials": [asdict(trial) for trial in self.trials]}
        write_atomic(self.folder / FILE, json.dumps(notes, indent=1).encode())

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings to try: those of the list without what the user chose, each once."""
        kind = "encoder" if self.config.base != "random" and is_encoder(self.config.base) else "decoder"
        found: dict[str, dict[str, Any]] = {}
        for name, changes in SETTINGS[kind].items():
            free = {key: value for key, value in changes.items() if key not in self.given}
            with contextlib.suppress(UsageError):  # it contradicts what is given
                replace(self.config, **free)
                if free not in found.values():
                    found[name] = free
        return found

    def cost(self, changes: Mapping[str, Any], epochs: int) -> float:
        """Seconds that a trial takes, about."""
        config = replace(self.config, **changes)
        return self.epoch_seconds * (epochs * self.weight(config) + 1.5 * config.pretrain_epochs)

    @staticmethod
    def weight(config: FinetuneConfig) -> float:
        """How much longer a pass takes than one without the language-model loss."""
        return 1.4 if config.lm_weight else 1.0

    @property
    def most_epochs(self) -> int:
        """Epochs of a trial, at most."""
        return max(MOST_EPOCHS, self.first_epochs)

    @property
    def first_epochs(self) -> int:
        """Epochs of the trials of the first round: those of the user, or as many as have 60 steps."""
        if "epochs" in self.given:
            return self.config.epochs
        return min(MOST_EPOCHS, max(1, math.ceil(FEWEST_STEPS / self.steps)))

    def plan(self) -> None:
        """Choose the settings and the epochs of the first round: as many as fit into 40 % of the time, or one.

        Raises:
            UsageError: "budget of 60 s …: training and what follows take about 900 s; …".
        """
        settings, left = self.settings(), SAFE * self.left
        self.first, self.epochs = list(settings), self.first_epochs
        while len(self.first) > 1 and sum(self.cost(settings[name], self.epochs) for name in self.first) > (
                FIRST_ROUND * self.seconds):
            self.first.pop()
        only = settings[self.first[0]]
        while self.epochs > 1 and self.cost(only, self.epochs) > left and "epochs" not in self.given:
            self.epochs -= 1
        if (cost := self.cost(only, self.epochs)) > left:
            needed = cost + self.seconds - self.left
            raise UsageError(f"budget of {self.seconds:.0f} s ({Path(self.config.data).name}): training and what "
                             f"follows take about {needed:.0f} s; give {1.5 * needed:.0f} s or more, or fewer texts")

    def best(self) -> Trial | None:
        """The trial with the highest validation accuracy, of equal ones that with the lowest log loss."""
        done = [trial for trial in self.trials if trial.accuracy is not None]
        return max(done, key=lambda trial: trial.order, default=None)

    def path(self, trial: Trial) -> Path:
        """The folder of a trial's run."""
        return self.folder / "trials" / f"{self.trials.index(trial) + 1:02}"


def holds_search(folder: str | Path) -> bool:
    """Whether a folder holds a search that can be resumed."""
    return (Path(folder) / FILE).exists()
