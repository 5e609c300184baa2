"""Find good settings within a stated time: try some on the validation texts, keep the best, and judge it once.

The settings are a fixed list, in the order of what they gained on other data. A short probe says how long a pass over
the texts takes; as many settings as fit are tried with few epochs, the better half of them with twice as many, and so
on (successive halving), until one is left or the time is over. The run of the best trial becomes that of the folder,
and is judged on the test texts as any other. What was decided is kept, so that a search that was stopped goes on:

    budget.json     time, settings, the trials so far
    trials/         the runs of the best trial so far and of the one under way

Source: Jamieson and Talwalkar 2016, arXiv:1502.07943 (successive halving).
"""

import contextlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.classification.baselines import bag_of_words
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import resume_classifier, validate_setting
from tinygrad_gpt.recipes.classification.parts import absolute_paths, read_parts, with_absolute_paths
from tinygrad_gpt.recipes.classification.result import FinetuneResult
from tinygrad_gpt.recipes.classification.search import FILE, Search, Trial, holds_search
from tinygrad_gpt.runs.folder import check_given, holds_run, refuse_second_run
from tinygrad_gpt.runs.progress import Progress

__all__ = ["find_setting", "resume_search"]

PROBE = 0.05  # share of the time for the probe


class _TimeOver(Exception):
    """The time for trials is over."""


def find_setting(config: FinetuneConfig, seconds: float, given: Sequence[str], out: Path,
                 **callbacks: Callable) -> tuple[FinetuneResult, Search]:
    """Search from the start.

    Args:
        config: what all trials share.
        seconds: for all of it, the judgement of the best on the test texts included.
        given: names of settings that no trial changes.
        out: a folder, made if absent.
        callbacks: ``said``, called with a `Trial` when it is done; ``report`` as in `finetune_classifier`; ``ready``,
            called where it is good to stop.

    Returns:
        The run of the best trial, as `finetune_classifier` gives it, and what was tried.

    Raises:
        UsageError: "budget of 60 s …: training and what follows take about 900 s; …"; and as `finetune_classifier`.
    """
    refuse_second_run(out)
    if holds_search(out):
        raise UsageError(f"cannot start ({out}): a run is already there; resume it or choose another folder")
    if config.teachers:
        raise UsageError(f"no search ({', '.join(config.teachers)}): the time that teachers take is not known before; "
                         "search for settings without them, then train with them")
    search = Search(out, with_absolute_paths(config), seconds, given)
    search.baseline = _baseline(search.config)
    search.epoch_seconds, search.steps = _probe(search)
    search.plan()
    out.mkdir(parents=True, exist_ok=True)
    search.save()
    return _go_on(search, **callbacks)


def resume_search(out: Path, wanted: Mapping[str, Any], **callbacks: Callable) -> tuple[FinetuneResult, Search]:
    """Go on with a search that was stopped; the time that it took before counts.

    Args:
        wanted: settings by name that must be those of the search, ``budget`` among them.
        callbacks: as in `find_setting`.

    Raises:
        CheckpointError: "cannot resume (run/budget.json): …"; and as `find_setting`.
    """
    try:
        notes = json.loads((out / FILE).read_bytes())
        trials = [Trial(**trial) for trial in notes.pop("trials")]
        search = Search(out, trials=trials, **{**notes, "config": FinetuneConfig(**notes["config"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"cannot resume ({out / FILE}): the file is damaged or of another version; start a new "
                              "run in another folder") from error
    wanted = absolute_paths(wanted)
    if wanted.pop("budget", search.seconds) != search.seconds:
        raise UsageError(f"cannot resume ({out}): the run has a budget of {search.seconds:g} seconds; leave it out, or "
                         "start a new run in another folder")
    check_given(out, search.config, wanted)
    return _go_on(search, **callbacks)


def _go_on(search: Search, said: Callable[[Trial], None], report: Callable[[Progress], None],
           ready: Callable[[], None]) -> tuple[FinetuneResult, Search]:
    """Do what is left of a search, and judge the best."""
    ready()
    if not holds_run(search.folder):
        for trial in _trials(search, ready):
            said(trial)
        _adopt_best(search)
    result = resume_classifier(search.folder, report=report, ready=ready)
    search.save()
    _add_to_report(search)
    return result, search


def _baseline(config: FinetuneConfig) -> dict[str, float]:
    """A bag of words on the validation texts."""
    started = time.monotonic()
    data, split = read_parts(config)
    if data.labels.ndim == 2:
        raise UsageError(f"no search ({Path(config.data).name}): its texts have several labels; leave the budget out")
    report = bag_of_words(data, replace(split, test=split.validation))
    return {} if report is None else {"accuracy": report.accuracy, "log_loss": report.log_loss,
                                      "seconds": time.monotonic() - started}


def _probe(search: Search) -> tuple[float, int]:
    """Seconds of an epoch, from its first steps, and their number in it."""
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) > 1 and progress.seconds > PROBE * search.seconds:
            raise _TimeOver

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_TimeOver):
        validate_setting(replace(search.config, epochs=1, average=0, pretrain_epochs=0, unlabelled=None, save_every=0),
                         Path(folder), report)
    seconds = seen[-1].seconds * seen[-1].total / len(seen)
    return max(1e-6, seconds / search.weight(search.config)), seen[-1].total


def _trials(search: Search, ready: Callable[[], None]) -> Iterator[Trial]:
    """Do the trials, round after round; what is done already is not done again, and not yielded."""
    settings = search.settings()
    names, epochs = search.first, search.epochs
    while names and epochs <= search.most_epochs:
        done = []
        for name in names:
            trial = next((t for t in search.trials if (t.setting, t.epochs) == (name, epochs)), None)
            if trial is None:
                if search.left < search.cost(settings[name], epochs) and search.best() is not None:
                    return
                trial = Trial(name, settings[name], epochs)
                search.trials.append(trial)
                search.save()
            if trial.accuracy is None:
                if not _run(search, trial, ready):
                    return
                yield trial
            done.append(trial)
        done.sort(key=lambda trial: trial.order, reverse=True)
        names = [trial.setting for trial in done[:math.ceil(len(done) / 2)]]
        if len(done) == 1 or "epochs" in search.given:
            return
        epochs *= 2


def _run(search: Search, trial: Trial, ready: Callable[[], None]) -> bool:
    """Train and validate a trial; False if its time is over, and another one is there to keep."""
    started, others = time.monotonic() - trial.seconds, search.best() is not None

    def report(progress: Progress) -> None:
        if others and search.left < 0:
            raise _TimeOver
        ready()

    config = replace(search.config, **trial.changes, epochs=trial.epochs)
    try:
        figures = validate_setting(config, search.path(trial), report)
    except _TimeOver:
        shutil.rmtree(search.path(trial))
        search.trials.remove(trial)
        search.save()
        return False
    except BaseException:  # Ctrl-C among them
        trial.seconds = time.monotonic() - started
        search.save()
        raise
    trial.accuracy, trial.log_loss = figures.accuracy, figures.log_loss
    trial.seconds = time.monotonic() - started
    units = search.cost(trial.changes, trial.epochs) / search.epoch_seconds
    search.epoch_seconds = float(np.mean([search.epoch_seconds, trial.seconds / units]))
    for other in search.trials:  # only the best one's run is kept
        if other is not search.best() and search.path(other).exists():
            shutil.rmtree(search.path(other))
    search.save()
    return True


def _adopt_best(search: Search) -> None:
    """Make the run of the best trial that of the folder."""
    best = search.best()
    assert best is not None  # the first trial is never broken off
    source = search.path(best)
    for path in sorted(source.iterdir(), key=lambda path: path.name == "config.json"):  # which says that all is there
        shutil.move(path, search.folder / path.name)
    shutil.rmtree(search.folder / "trials")


def _add_to_report(search: Search) -> None:
    """Put the trials into report.json."""
    file = search.folder / "report.json"
    report = json.loads(file.read_bytes())
    report["budget"] = {"seconds": search.seconds, "spent": search.spent,
                        "bag_of_words": search.baseline, "trials": [asdict(trial) for trial in search.trials]}
    write_atomic(file, json.dumps(report, indent=1).encode())
