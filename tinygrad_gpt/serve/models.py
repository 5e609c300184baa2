"""The models that a server offers, by name, and what each of them can do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tinygrad_gpt.errors import UsageError, listed
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.recipes.instructions.respond import style_name
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, SHIPPED_CLASSIFIER, SavedModel, load_model

__all__ = ["Models", "UnknownModelError", "load_models", "tasks_of"]


class UnknownModelError(UsageError):
    """A request for a model that is not served."""


def tasks_of(saved: SavedModel) -> tuple[str, ...]:
    """What a model is offered for: a classifier classifies, a language model generates and chats."""
    return ("classify",) if saved.labels else ("generate", "chat")


@dataclass(frozen=True)
class Models:
    """Models by the names under which they are served; the first that can do a task is its default.

    Args:
        by_name: in the order in which they were given.
    """

    by_name: Mapping[str, SavedModel]

    def names(self, task: str) -> list[str]:
        """The models for a task. One that was tuned on instructions comes first in a chat."""
        names = [name for name, saved in self.by_name.items() if task in tasks_of(saved)]
        return sorted(names, key=lambda name: style_name(self.by_name[name]) is None) if task == "chat" else names

    def find(self, task: str, name: str | None) -> tuple[str, SavedModel]:
        """The name and the model for a task; without a name, its default.

        Raises:
            UnknownModelError: "cannot chat (model): no model with the name 'x'; …", or no model can do it.
        """
        names = self.names(task)
        if not names:
            raise UnknownModelError(f"cannot {task} (model): none of the models that are served can; start the server "
                                    f"with one, serve --model {'RUN' if task == 'classify' else SHIPPED_BASE}")
        if name is None:
            return names[0], self.by_name[names[0]]
        if name not in names:
            why = "is not for this task" if name in self.by_name else "is not served"
            raise UnknownModelError(f"cannot {task} (model): {name[:40]!a} {why}; choose one of {listed(names)}")
        return name, self.by_name[name]


def load_models(paths: Iterable[str]) -> Models:
    """Read models; each is named by the last part of its path, without the ending of a file.

    Args:
        paths: as in `load_model`; none: the shipped classifier and the shipped language model.

    Raises:
        UsageError: "two models have the name 'mine' (runs/mine): …", or one is an encoder without classes.
        CheckpointError: as `load_model`.
    """
    by_name: dict[str, SavedModel] = {}
    for path in list(paths) or [SHIPPED_CLASSIFIER, SHIPPED_BASE]:
        name = Path(path).resolve().name if Path(path).is_dir() else Path(path).stem if path else path
        if name in by_name:
            raise UsageError(f"two models have the name {name!r} ({path}): requests could not tell them apart; "
                             "rename a file or folder, or leave one out")
        saved = load_model(path)
        if not saved.labels and not isinstance(saved.base, GPT2):
            raise UsageError(f"cannot serve ({path}): it is an encoder without classes; finetune it first, finetune "
                             f"classifier --base {path}")
        by_name[name] = saved
    return Models(by_name)
