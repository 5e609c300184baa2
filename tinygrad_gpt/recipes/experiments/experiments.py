"""The book's experiments on finetuning, on any model: each row of its table, each seed, one run in one folder."""

import functools
import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.book.experiments import IMDB, ROWS, SIZES, Row
from tinygrad_gpt.book.splits import divide
from tinygrad_gpt.data.classification import Split, read_labelled
from tinygrad_gpt.errors import CheckpointError, TinygradError, UsageError
from tinygrad_gpt.files import run_lock, sha256_of, write_atomic
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier, memory_needed
from tinygrad_gpt.recipes.classification.starting_model import with_head
from tinygrad_gpt.recipes.experiments.config import BOOK, ExperimentsConfig, run_config, starts_by_name
from tinygrad_gpt.recipes.experiments.family import train_family
from tinygrad_gpt.recipes.experiments.jobs import spread
from tinygrad_gpt.recipes.pretraining.corpus import load_vocabulary
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import load_model, model_file, provenance_of
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train.memory import peak_memory

__all__ = ["ExperimentsConfig", "Measured", "Planned", "Result", "experiments", "plan", "run_config"]

RUN_FILE = "run.json"  # written last: a run that has it is finished


@dataclass(frozen=True)
class Measured:
    """One finished run.

    Args:
        seed: of it.
        train, validation, test: accuracies, 0 to 1.
        interval: of the test accuracy, 95 % (Wilson).
        seconds: of training, with the looks at the validation texts.
        tokens: that were computed in training, padding included where the model reads it.
        memory: the most that the process took, in bytes; on a device, that its pool took.
        trained: how many numbers were trained.
        bag_of_words: accuracy of a bag of words on the same test texts and its interval; None without scikit-learn.
        machine: what computed it.
        caution: why new texts will fare worse than the test texts, as in `FinetuneResult`.
    """

    seed: int
    train: float
    validation: float
    test: float
    interval: tuple[float, float]
    seconds: float
    tokens: int
    memory: int
    trained: int
    bag_of_words: tuple[float, tuple[float, float]] | None
    machine: str
    caution: str = ""

    def __post_init__(self) -> None:
        words = self.bag_of_words or (0.0, self.interval)
        shares = (self.train, self.validation, self.test, *self.interval, words[0], *words[1])
        counts = (self.seed, self.tokens, self.memory, self.trained)
        if len(shares) != 8 or not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in shares):
            raise ValueError(f"an accuracy is not between 0 and 1: {shares}")
        if not all(type(count) is int and count >= 0 for count in counts) or not 0 <= self.seconds < math.inf:
            raise ValueError(f"a count is not a whole number: {counts}, or not a time: {self.seconds}")
        if not isinstance(self.machine, str) or not isinstance(self.caution, str):
            raise ValueError("machine and caution are not texts")


@dataclass(frozen=True)
class Result:
    """A row and its runs, one for each seed that could be run.

    Args:
        row: of the book's table.
        first: the first row of the table that is the same run on this model; the row itself, if none before it is.
        runs: the figures.
        failures: why seeds could not be run.
    """

    row: Row
    first: Row
    runs: list[Measured]
    failures: list[TinygradError]

    def average(self, figure: str) -> float:
        """The mean over the runs of a figure of `Measured`."""
        return mean(getattr(run, figure) for run in self.runs)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the test accuracy: over the seeds (Student's t), or of one run over its texts (Wilson)."""
        if len(self.runs) == 1:
            return self.runs[0].interval
        from scipy.stats import t

        tests = [run.test for run in self.runs]
        half = float(t.ppf(0.975, len(tests) - 1)) * stdev(tests) / math.sqrt(len(tests))
        return max(0.0, mean(tests) - half), min(1.0, mean(tests) + half)


@dataclass(frozen=True)
class Planned:
    """What a row would take: numbers trained, bytes of memory and tokens of a text; or why it cannot be run."""

    row: Row
    model: str
    trained: int = 0
    memory: int = 0
    context: int = 0
    failure: str = ""


@dataclass(frozen=True)
class _Run:
    """One row with one seed: its settings, its folder, and what a finished run must have noted to be this one."""

    row: Row
    config: FinetuneConfig
    folder: Path
    notes: dict[str, Any]


Shown = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]


@contextmanager
def _unseen(title: str) -> Iterator[Callable[[Progress], None]]:
    yield lambda progress: None


def experiments(config: ExperimentsConfig, out: str | Path, *, resume: bool = False, jobs: int = 1,
                shown: Shown = _unseen) -> list[Result]:
    """Run all rows with all seeds; what was finished before is not run again, what was interrupted starts again.

    Args:
        config: which experiments.
        out: a folder, made if absent. Each run leaves its log, report and pictures in a folder of its own, its
            figures in run.json, and no weights.
        resume: go on in a folder that has runs.
        jobs: processes that do runs at the same time.
        shown: gives, for the title of each run, what is called after each of its steps.

    Returns:
        A result for each row. A run that cannot be does not keep the others from being done.

    Raises:
        DataError: the data cannot be read or split.
        UsageError: "cannot start (runs): experiments are already there; …", or runs there are of other settings.
        CheckpointError, ResourceError: the base is not there, the disk is full.
    """
    out = Path(out)
    data = _read(config)
    for split in {run_config(config, row, 0).split for row in config.rows}:
        divide(data, split, BOOK.split_seed)  # refuses what no run could be done on
    if not resume and any(out.glob(f"*/{RUN_FILE}")):
        raise UsageError(f"cannot start ({out}): experiments are already there; add --resume, or choose another folder")
    if config.base == "family":
        config = _with_family(config, out, shown)
    results = {row.number: Result(row, _first(config, row), [], []) for row in config.rows}
    runs = list(_runs(config, out, results))
    for run in runs:
        _finished(run)  # refuses to mix runs of other settings with these
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out):
        failed = _ahead(runs, jobs, shown) if jobs > 1 else {}
        for count, run in enumerate(runs, start=1):
            result = results[run.row.number]
            title = f"run {count} of {len(runs)}: row {run.row.number}, {run.row.title}, seed {run.config.seed}"
            try:
                if run.folder in failed:
                    raise failed[run.folder]
                result.runs.append(_finished(run) or _done(run, title, shown))
            except TinygradError as error:
                result.failures.append(error)
    return list(results.values())


def _ahead(runs: list[_Run], jobs: int, shown: Shown) -> dict[Path, TinygradError]:
    """Do the runs that are not finished in several processes; why some could not be done, by their folders."""
    todo = {run.folder: run for run in runs if _finished(run) is None}
    failed: dict[Path, TinygradError] = {}
    done = spread(jobs, functools.partial(_done, title="", shown=_unseen), todo.values())
    for count, (run, error) in enumerate(done, start=1):
        with shown(f"{count} of {len(todo)} runs done, {jobs} at a time: {run.folder.name}"):
            failed |= {run.folder: error} if error else {}
    return failed


def plan(config: ExperimentsConfig) -> list[Planned]:
    """What each row would train and take, without a step of it.

    Raises:
        DataError: the data cannot be read or split.
        UsageError: "cannot plan (family): its models are not trained yet; …".
    """
    if config.base == "family":
        raise UsageError("cannot plan (family): its models are not trained yet; run the experiments, or give the "
                         "folder of a trained family as base")
    data = _read(config)
    base, runs = functools.cache(_sizes), [run_config(config, row, config.seeds[0]) for row in config.rows]
    splits = {split: divide(data, split, BOOK.split_seed) for split in {run.split for run in runs}}
    return [_planned(row, run, data.texts, splits[run.split], base)
            for row, run in zip(config.rows, runs, strict=True)]


def _planned(row: Row, run: FinetuneConfig, texts: list[str], split: Split,
             base: Callable[[str, str | None], tuple[GPT2Config | BertConfig, Tokenizer]]) -> Planned:
    try:
        sizes, tokenizer = base(run.base, run.vocabulary)
        empty = GPT2(sizes, seed=None) if isinstance(sizes, GPT2Config) else Bert(
            replace(sizes, pooler=sizes.pooler if run.read == "first" else "none"), seed=None)
        model, tokens, _ = with_head(empty, tokenizer, texts, split.train, 2, run)
        trained = sum(parameter.size for parameter in model.trainable())
        return Planned(row, run.base, trained, memory_needed(model, tokens, run, split), model.context)
    except TinygradError as error:
        return Planned(row, run.base, failure=str(error))


def _sizes(base: str, vocabulary: str | None) -> tuple[GPT2Config | BertConfig, Tokenizer]:
    """Shape and vocabulary of a model to start from, without its weights where they are random."""
    if base != "random":
        saved = load_model(base)
        return saved.base.config, saved.tokenizer
    tokenizer = load_vocabulary(str(vocabulary))
    return GPT2Config(tokenizer.vocab_size, **SIZES), tokenizer


def _read(config: ExperimentsConfig):
    return read_labelled(config.data, quotes=True)  # as the book does


def _first(config: ExperimentsConfig, row: Row) -> Row:
    """The first row that is the same run: on one base, the rows of larger models are those of the smallest."""
    return next((other for other in (*ROWS, *IMDB) if run_config(config, other, 0) == run_config(config, row, 0)), row)


def _with_family(config: ExperimentsConfig, out: Path, shown: Shown) -> ExperimentsConfig:
    """Train the family; the same experiments with it as base."""
    folder = out / "family"
    folder.mkdir(parents=True, exist_ok=True)
    with run_lock(out):
        train_family(config.family_text, config.family_steps, folder, config.models, shown)
    return replace(config, base=str(folder))


def _runs(config: ExperimentsConfig, out: Path, results: Mapping[int, Result]) -> Iterator[_Run]:
    """All runs; rows whose own model is not there get its error as failure."""
    digest = functools.cache(_digest)
    for result in results.values():
        first = result.first
        for seed in config.seeds:
            run = run_config(config, result.row, seed)
            names = {name: Path(str(getattr(run, name))).name for name in ("data", "base", "vocabulary")}
            try:
                files = [run.data] if run.base == "random" else [run.data, model_file(run.base)]
                notes = {"config": asdict(run) | names, "sha256": [digest(file) for file in files]}
            except CheckpointError as error:
                if not starts_by_name(config.base):
                    raise
                result.failures.append(error)
                continue
            yield _Run(result.row, run, out / f"{first.number:02d}-{first.name}-seed-{seed}", notes)


def _digest(file: str | Path) -> str:
    if not Path(file).is_file():
        raise CheckpointError(f"cannot load ({file}): no such file; give a model, or the name of one")
    return sha256_of(file)


def _done(run: _Run, title: str, shown: Shown) -> Measured:
    """Do a run, and leave its figures."""
    folder = run.folder
    if _is_unfinished(run):
        (folder / "model.h5").unlink()
    with shown(title) as report, peak_memory() as memory:
        result = finetune_classifier(run.config, folder, report)
        peak = memory()
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    words = result.baseline
    measured = Measured(
        run.config.seed, result.training.accuracy, result.validation.accuracy, result.test.accuracy,
        result.test.accuracy_interval, last["seconds"], last["tokens"], peak, result.trained,
        (words.accuracy, words.accuracy_interval) if words else None, _machine(), result.caution)
    write_atomic(folder / RUN_FILE, json.dumps({"run": run.notes, "measured": asdict(measured)}, indent=1).encode())
    (folder / "model.h5").unlink()
    return measured


def _is_unfinished(run: _Run) -> bool:
    """Whether the folder holds the model of this very run, killed before its figures were written."""
    with suppress(CheckpointError):
        found, settings = provenance_of(run.folder / "model.h5").get("config", {}), run.notes["config"]
        return (run.folder / "log.jsonl").exists() and found == json.loads(json.dumps(settings | {
            name: found.get(name) for name in ("data", "base", "vocabulary")}))  # noted without their folders
    return False


def _finished(run: _Run) -> Measured | None:
    """The figures of a run, if it is finished.

    Raises:
        CheckpointError: "cannot read (out/01-last-block-seed-123/run.json): the file is damaged; …".
        UsageError: "cannot resume (out/01-last-block-seed-123): epochs changed since it was run; …".
    """
    file = run.folder / RUN_FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_bytes())
        found, figures = content["run"], content["measured"]
        settings = found["config"].items()
        words = figures["bag_of_words"]
        measured = Measured(**figures | {"interval": tuple(figures["interval"]),
                                         "bag_of_words": words and (words[0], tuple(words[1]))})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"cannot read ({file}): the file is damaged; remove it, and the run is done "
                              "again") from error
    asked = json.loads(json.dumps(run.notes))  # a tuple is a list in the file
    if found != asked:
        names = [name for name, value in settings if asked["config"].get(name) != value]
        raise UsageError(f"cannot resume ({run.folder}): {', '.join(names) or 'the data or the base'} changed since it "
                         "was run; choose another folder")
    return measured


def _machine() -> str:
    backend = default_backend()
    cpu = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{cpu}, backend {backend.name}"

