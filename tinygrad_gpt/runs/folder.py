"""The folder of a training run: its settings, the states it can be resumed from, and its log."""

import contextlib
import hashlib
import json
import math
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from os.path import abspath
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.files import append_line, write_atomic
from tinygrad_gpt.runs.progress import Progress

__all__ = ["Log", "States", "absolute", "check_given", "holds_model", "holds_run", "read_run", "refuse_changed_files",
           "refuse_second_run", "run_digest", "settings_of", "write_run", "write_samples"]

RUN_FILE = "config.json"
Config = TypeVar("Config")
STATE_FILES = ("state-a.h5", "state-b.h5")
MODEL_FILES = ("model.h5", "model.safetensors")


def holds_run(folder: str | Path) -> bool:
    """Whether the folder holds a run that can be resumed."""
    return (Path(folder) / RUN_FILE).exists()


def refuse_second_run(folder: str | Path) -> None:
    """Refuse to start a run where one is, or where a model is that it would replace.

    Raises:
        UsageError: "cannot start (run): a run is already there; resume it or choose another folder".
    """
    if holds_run(folder):
        raise UsageError(f"cannot start ({folder}): a run is already there; resume it or choose another folder")
    if holds_model(folder):
        what = "finished run" if (Path(folder) / "model.h5").exists() else "model"
        raise UsageError(f"cannot start ({folder}): a {what} is there; choose another folder")


def holds_model(folder: str | Path) -> bool:
    """Whether the folder holds weights under a name that this package writes."""
    return any((Path(folder) / name).exists() for name in MODEL_FILES)


def refuse_changed_files(folder: str | Path, found: Mapping[str, str], noted: Mapping[str, str]) -> None:
    """Refuse to resume a run whose files are not those it was started with.

    Args:
        found, noted: sha256 of each file by name, now and then.

    Raises:
        CheckpointError: "cannot resume (run): sms.tsv changed since it was started; put the file back, …".
    """
    if changed := [name for name in noted if found.get(name) != noted[name]]:
        raise CheckpointError(f"cannot resume ({folder}): {' and '.join(changed)} changed since it was started; put "
                              "the file back, or start a new run in another folder")


def settings_of(kind: Callable[..., Config], notes: Mapping[str, Any], folder: str | Path) -> Config:
    """The settings that a run was started with.

    Raises:
        CheckpointError: "cannot resume (run): its settings are those of finetune classifier, version 0.1.0; …".
    """
    try:
        return kind(**notes["config"])
    except (TypeError, KeyError) as error:
        of = f"{notes.get('recipe', 'another command')}, version {notes.get('version', 'unknown')}"
        raise CheckpointError(f"cannot resume ({folder}): its settings are those of {of}; use that, or start a new run "
                              "in another folder") from error


def absolute(path: str) -> str:
    """A path that holds from any folder; what is no path, such as the name of a model, stays."""
    return abspath(path) if Path(path).exists() else path


def check_given(folder: str | Path, config: Any, given: Mapping[str, Any]) -> None:
    """Refuse settings that are not the run's: they would change it silently.

    Args:
        config: of the run.
        given: settings by name, paths in the form that the config has.

    Raises:
        UsageError: "cannot resume (run): lr is 0.1, but the run has 0.002; leave it out, or start a new run …".
    """
    for name, value in given.items():
        if value != getattr(config, name):
            raise UsageError(f"cannot resume ({folder}): {name} is {_shown(value)}, but the run has "
                             f"{_shown(getattr(config, name))}; leave it out, or start a new run in another folder")


def _shown(value: Any) -> str:
    """A setting in a message; several values with commas between."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def write_samples(folder: Path, log: Sequence[Progress]) -> None:
    """Write samples.txt, all texts that the model wrote so far."""
    texts = [f"--- after step {entry.step:,}\n\n{text}\n" for entry in log for text in entry.samples]
    write_atomic(folder / "samples.txt", "\n".join(texts).encode(errors="replace"))


def write_run(folder: str | Path, run: Mapping[str, Any]) -> None:
    """Note what a run is: from here on it can be resumed. All else that resuming needs must be there by then.

    Args:
        run: JSON values.
    """
    text = json.dumps({"run": run, "digest": run_digest(run)}, indent=1, ensure_ascii=False)
    write_atomic(Path(folder) / RUN_FILE, text.encode() + b"\n")


def read_run(folder: str | Path) -> dict[str, Any]:
    """Read what `write_run` wrote.

    Raises:
        UsageError: `cannot resume (run): no run was started there; …`
        CheckpointError: `cannot resume (run/config.json): the file is damaged; …`
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        raise UsageError(f"cannot resume ({folder}): no run was started there; check the folder, or leave --resume out")
    try:
        content = json.loads(path.read_bytes())
        run, digest = content["run"], content["digest"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        run, digest = None, None
    if not isinstance(run, dict) or run_digest(run) != digest:
        raise CheckpointError(f"cannot resume ({path}): the file is damaged or was edited; put the original back, or "
                              "start a new run in another folder")
    return run


def run_digest(run: Mapping[str, Any]) -> str:
    """Two runs with the same digest are the same run."""
    return hashlib.blake2b(json.dumps(run, sort_keys=True).encode(), digest_size=16).hexdigest()


class States:
    """The two newest states of a run, in two files that are written in turn.

    Args:
        folder: of the run.
        run: its digest; the states of another run are refused.
    """

    def __init__(self, folder: str | Path, run: str) -> None:
        self.folder, self.run = Path(folder), run
        self.newest: Path | None = None
        self.step: int | None = None

    def save(self, step: int, tensors: dict[str, np.ndarray]) -> None:
        """Write the state after ``step`` steps over the older one, unless it is saved already.

        Raises:
            CheckpointError, ResourceError, TinygradError: as `native.save`; both older states are then as they were.
        """
        if step == self.step:
            return
        path = next(path for path in self._paths() if path != self.newest)
        native.save(path, tensors, {"kind": "training state", "run": self.run, "step": step})
        self.newest, self.step = path, step

    def load(self) -> dict[str, np.ndarray]:
        """Read the newest state that is whole.

        Raises:
            CheckpointError: no file of the two can be used; says why.
        """
        refusals = []
        for path in sorted(filter(Path.exists, self._paths()), key=_step, reverse=True):
            try:
                state = native.load(path)
            except CheckpointError as error:
                refusals.append(error)
                continue
            if state.metadata.get("run") != self.run:
                refusals.append(CheckpointError(f"cannot resume ({path}): it belongs to another run; put the "
                                                "right file back, or start a new run in another folder"))
                continue
            if (step := _counted(state.metadata.get("step"))) < 0:
                refusals.append(CheckpointError(f"cannot resume ({path}): its step is "
                                                f"{reprlib.repr(state.metadata.get('step'))}, expected a whole number; "
                                                "start a new run in another folder"))
                continue
            self.newest, self.step = path, step
            for refusal in refusals:
                warnings.warn(f"{refusal}; resumed from the other state, of step {step:,}", stacklevel=2)
            return state.tensors
        raise refusals[0] if refusals else CheckpointError(
            f"cannot resume ({self.folder}): {' and '.join(STATE_FILES)} are missing; start a new run elsewhere")

    def _paths(self):
        return [self.folder / name for name in STATE_FILES]


def _step(path: Path) -> float:
    """The step of a state; infinite if its file is damaged, so that it is tried first and its damage is told."""
    with contextlib.suppress(CheckpointError):
        return _counted(native.load_metadata(path).get("step"))
    return math.inf


def _counted(value: Any) -> int:
    """A count of steps; −1 if the value is none."""
    return value if type(value) is int and 0 <= value < 2**63 else -1


class Log:
    """log.jsonl: a line for every step that was done.

    Args:
        path: the file.
        steps: how many steps are done; lines of later ones are dropped, for these steps will be done again.
    """

    def __init__(self, path: str | Path, steps: int = 0) -> None:
        self.path = Path(path)
        self.entries: list[Progress] = []
        if steps:
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
            self.entries = [entry for line in lines if (entry := _entry(line)) and entry.step <= steps]
            if missing := steps - len(self.entries):
                warnings.warn(f"{self.path}: {missing:,} of the {steps:,} steps that were done are missing; they will "
                              "not be in the curves", stacklevel=2)
        self._write()

    def append(self, entry: Progress) -> None:
        """Add a step."""
        append_line(self.path, _line(entry))
        self.entries.append(entry)

    def amend(self, entry: Progress) -> None:
        """Replace the last step."""
        self.entries[-1] = entry
        self._write()

    def _write(self) -> None:
        write_atomic(self.path, b"".join(_line(entry).encode() + b"\n" for entry in self.entries))


def _line(entry: Progress) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False)


def _entry(line: bytes) -> Progress | None:
    """The entry in a line of the log, None for a line that a power cut tore or that is none."""
    try:
        entry = Progress(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    figures = (entry.loss, entry.norm, entry.lr, entry.seconds, *entry.scores.values()) \
        if isinstance(entry.scores, dict) and isinstance(entry.samples, list) else (None,)
    good = _counted(entry.step) > 0 and all(type(figure) in (int, float) for figure in figures)
    return entry if good else None
