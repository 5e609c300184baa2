"""Finetune a GPT-2 to classify texts: read, split, encode, train, judge, save."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.backend.precision import check_precision, precision
from tinygrad_gpt.data.classification import LabelledTexts, Split
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.figures.classification import Report
from tinygrad_gpt.figures.pictures import draw_confusion
from tinygrad_gpt.files import digests_of, run_lock
from tinygrad_gpt.models.classifier import TextClassifier
from tinygrad_gpt.models.gpt2 import GPT2Config
from tinygrad_gpt.models.lora import merge_lora
from tinygrad_gpt.recipes.classification.baselines import bag_of_words
from tinygrad_gpt.recipes.classification.calibration import Calibration, calibrate, judged_before
from tinygrad_gpt.recipes.classification.classify import SEVERAL_THRESHOLDS, predict
from tinygrad_gpt.recipes.classification.config import NO_FILES, TRAINED, FinetuneConfig
from tinygrad_gpt.recipes.classification.further_pretraining import language_task, pretrain_before
from tinygrad_gpt.recipes.classification.inputs import Texts, inputs_of, memory_kept
from tinygrad_gpt.recipes.classification.objectives import objective_of
from tinygrad_gpt.recipes.classification.parts import absolute_paths, read_parts, with_absolute_paths
from tinygrad_gpt.recipes.classification.result import FinetuneResult, write_report
from tinygrad_gpt.recipes.classification.starting_model import has_seen_test, load_base, with_head
from tinygrad_gpt.recipes.classification.task import ClassificationTask
from tinygrad_gpt.recipes.classification.teachers import (
    check_teachers,
    targets_of,
    texts_without_labels,
    with_unlabelled,
)
from tinygrad_gpt.runs.folder import (
    check_given,
    holds_run,
    read_run,
    refuse_changed_files,
    refuse_second_run,
    settings_of,
)
from tinygrad_gpt.runs.progress import Preparation, Progress
from tinygrad_gpt.runs.run import Run, begin, loss_scale_of, steps
from tinygrad_gpt.runs.saved_model import SavedModel, model_file, origin, save_model
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train.memory import Plan, check_memory, memory_estimate

__all__ = ["FinetuneConfig", "FinetuneResult", "finetune_classifier", "memory_needed",
           "resume_classifier", "train_on_texts", "validate_setting"]


def nothing(*args: Any) -> None:
    """A callback that does nothing."""


def finetune_classifier(config: FinetuneConfig, out: str | Path, report: Callable[[Progress], None] = nothing,
                        prepare: Callable[[Preparation], None] = nothing,
                        ready: Callable[[], None] = nothing) -> FinetuneResult:
    """Start a run and do all its steps; `task.py` says what it leaves in its folder.

    Args:
        config: the run. Same config, machine and thread count: the same result, bit for bit.
        out: a folder, made if absent; a run or a model in it is not overwritten.
        report: called after each step; the last step of an epoch carries the scores of both parts. If it raises, the
            state is saved first.
        prepare: called while the texts go through the frozen blocks.
        ready: called once, when the run can be resumed.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: one line that says what to do.
    """
    out = Path(out)
    refuse_second_run(out)
    start = _prepare(config)
    config = with_absolute_paths(config)
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out):
        refuse_second_run(out)  # which may have begun while the data were read
        with precision(config.precision):
            run = begin(out, _notes(config, start), _task(config, start, out, prepare))
            ready()
            log = _train(config, start, run, report)
        return _finish(config, start, run, log)


def resume_classifier(out: str | Path, given: Mapping[str, Any] | None = None,
                      report: Callable[[Progress], None] = nothing,
                      prepare: Callable[[Preparation], None] = nothing,
                      ready: Callable[[], None] = nothing) -> FinetuneResult:
    """Go on with a run that was stopped; one whose steps are done is judged again, with the same files as result.

    Args:
        out: its folder.
        given: settings by name that must be those of the run.
        report, prepare, ready: as in `finetune_classifier`.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: one line that says what to do.
    """
    out = Path(out)
    notes = read_run(out)
    config = settings_of(FinetuneConfig, notes, out)
    check_given(out, config, absolute_paths(given or {}))
    start = _prepare(config)
    refuse_changed_files(out, _notes(config, start)["sha256"], notes["sha256"])
    with run_lock(out):
        with precision(config.precision):
            run = Run(out, notes, _task(config, start, out, prepare))
            run.restore()
            ready()
            log = _train(config, start, run, report)
        return _finish(config, start, run, log)


def validate_setting(config: FinetuneConfig, out: Path, report: Callable[[Progress], None] = nothing) -> Report:
    """Do the steps of a run, or those that are left, and judge it on the validation texts alone; raises as the others.

    What it leaves in the folder is what `finetune_classifier` leaves when it is stopped behind its last step.
    """
    start, found = _prepare(config), holds_run(out)
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out), precision(config.precision):
        notes, task = _notes(config, start), _task(config, start, out, nothing)
        run = Run(out, notes, task) if found else begin(out, notes, task)
        if found:
            run.restore()
        _train(config, start, run, report)
    names, part = start.data.classes, start.split.validation
    objective = objective_of(start.data.labels)
    probabilities = predict(_as_saved(start.inputs, config), part, probabilities=objective.probabilities)
    return objective.judge(probabilities, start.data.labels[part], names)


@dataclass(frozen=True)
class _Prepared:
    """What a run begins with: data and their parts, the model, its vocabulary, the texts in tokens.

    With teachers the texts without labels come behind the labelled ones, and are in the training part of ``taught``.
    """

    data: LabelledTexts
    split: Split
    taught: Split
    unlabelled: list[str]
    tokenizer: Tokenizer
    inputs: Texts
    truncated: int


def _prepare(config: FinetuneConfig) -> _Prepared:
    """Read the data and the base, if the machine has the precision and the memory to train; nothing is written."""
    check_precision(config.precision)
    data, split = read_parts(config)
    if config.unsure_below and data.labels.ndim == 2:
        raise UsageError(f"unsure_below is {config.unsure_below:g}, but {SEVERAL_THRESHOLDS}")
    check_teachers(config, data)
    unlabelled = texts_without_labels(config, data, split)
    base, tokenizer = load_base(config, [data.texts[i] for i in split.train])
    model, tokens, truncated = with_head(base, tokenizer, [*data.texts, *unlabelled], split.train, len(data.classes),
                                         config)
    taught = with_unlabelled(split, len(data.texts), len(unlabelled))
    check_memory(memory_needed(model, tokens, config, taught), "train fewer blocks")
    return _Prepared(data, split, taught, unlabelled, tokenizer, inputs_of(model, tokens, taught.rows), truncated)


def _task(config: FinetuneConfig, start: _Prepared, out: Path,
          prepare: Callable[[Preparation], None]) -> ClassificationTask:
    targets = None
    if config.teachers:
        targets = targets_of(config, start.data, start.split, start.unlabelled, out, prepare)
    return ClassificationTask(config, start.inputs, start.data.labels, start.taught, prepare, targets)


def _notes(config: FinetuneConfig, start: _Prepared) -> dict[str, Any]:
    """What config.json holds."""
    return {"version": __version__, "recipe": "finetune classifier", "config": asdict(config),
            "sha256": digests_of(_files(config)) | {"the vocabulary": start.tokenizer.digest}}


def _files(config: FinetuneConfig) -> list[str]:
    """What is read, besides the vocabulary of a new model."""
    data = [file for file in (config.data, config.test, config.extra, config.unlabelled) if file]
    models = [model for model in (config.base, *config.teachers) if model not in NO_FILES]
    return data + [str(model_file(model)) for model in models]


def _train(config: FinetuneConfig, start: _Prepared, run: Run, report: Callable[[Progress], None]) -> list[Progress]:
    """Do the steps that are left; if the last evaluation fails, the model is there all the same."""
    if config.pretrain_epochs:
        base = load_base(config, [start.data.texts[i] for i in start.split.train])
        language = language_task(config, start.data, start.split, *base)
        report = pretrain_before(run, language, _notes(config, start), report)
    try:
        return run.train(report)
    except Exception:
        if run.is_done:
            _as_saved(start.inputs, config)
            _save(config, start, run, {})
        raise


def _save(config: FinetuneConfig, start: _Prepared, run: Run, figures: dict[str, float],
          thresholds: tuple[float, ...] = ()) -> SavedModel:
    """Write the model, with its figures on the test texts."""
    provenance = origin("finetune classifier", config, _files(config)) | {
        "base_vocabulary": start.tokenizer.digest, **figures}
    saved = SavedModel(run.task.model, start.tokenizer, tuple(start.data.classes), provenance, config.unsure_below,
                       thresholds)
    save_model(run.folder / "model.h5", saved, np.float16 if config.float16 else np.float32)
    return saved


def _finish(config: FinetuneConfig, start: _Prepared, run: Run, log: list[Progress]) -> FinetuneResult:
    """Write the model, then judge it, then compare it, then draw: what fails has all before it in the folder."""
    task, data, split, out = run.task, start.data, start.split, run.folder
    assert isinstance(task, ClassificationTask)
    trained = sum(parameter.size for parameter in task.model.trainable())
    task.prepare_texts()
    inputs = _as_saved(start.inputs, config)
    _save(config, start, run, {})
    objective, several = task.objective, data.labels.ndim == 2
    temperature = 1.0
    if not (config.no_calibration or several):  # with several labels their thresholds are fitted instead
        temperature = calibrate(inputs, data.labels, split.validation)
        _round(inputs.model, config)
    parts = (split.validation, split.train, split.test)
    predicted = [predict(inputs, part, probabilities=objective.probabilities) for part in parts]
    objective = objective.fitted(predicted[0], data.labels[split.validation])
    validation, training, test = (objective.judge(probabilities, data.labels[part], data.classes)
                                  for probabilities, part in zip(predicted, parts, strict=True))
    calibration = None
    if not several:
        before, _, test_before = (judged_before(probabilities, data.labels[part], temperature)
                                  for probabilities, part in zip(predicted, parts, strict=True))
        calibration = Calibration(temperature, before, validation.calibration_error, test_before,
                                  test.calibration_error)
    figures = {"test_accuracy": test.accuracy, "test_f1": test.f1, "temperature": temperature}
    saved = _save(config, start, run, figures, objective.thresholds)
    counts = f"{data.counts}; {split}" + (f"; {len(start.unlabelled):,} texts without labels, from the teachers"
                                          if config.teachers else "")
    result = FinetuneResult(saved, counts, trained, training, validation, test, None,
                            start.truncated, _caution(config, split), calibration)
    write_report(out / "report.json", result)
    result = replace(result, baseline=bag_of_words(data, split))
    write_report(out / "report.json", result)
    task.show(out, log)
    if isinstance(test, Report):
        draw_confusion(out / "confusion.png", test.confusion, data.classes)
    return result


def train_on_texts(texts: Sequence[str], labels: np.ndarray, config: FinetuneConfig,
                   report: Callable[[Progress], None] = nothing) -> tuple[TextClassifier, Tokenizer]:
    """Train on all of some texts; nothing is read but the base, nothing is written.

    Args:
        texts: N of them.
        labels: (N,) integers, the class of each from 0 on.
        config: the run; what it says of data, split and storage does not count.
        report: called after each step.

    Returns:
        The model, LoRA's updates merged, and its vocabulary.

    Raises:
        UsageError, CheckpointError, NonFiniteError, ResourceError: one line that says what to do.
    """
    config = replace(config, save_every=0)
    everything = Split(np.arange(len(texts)), np.arange(0), np.arange(0))
    base, tokenizer = load_base(config, list(texts))
    model, tokens, _ = with_head(base, tokenizer, list(texts), everything.train, int(labels.max()) + 1, config)
    check_memory(memory_needed(model, tokens, config, everything), "train fewer blocks")
    with precision(config.precision):
        task = ClassificationTask(config, inputs_of(model, tokens, everything.rows), labels, everything)
        for progress in steps(task, task.optimizer(), loss_scale_of(task)):
            report(progress)
    if config.train == "lora":
        merge_lora(model)
    return model.eval(), tokenizer


def memory_needed(model: TextClassifier, tokens: Sequence[list[int]], config: FinetuneConfig, split: Split) -> int:
    """Bytes of the weights, of a step on the longest texts, and of what the frozen blocks make of all texts.

    Args:
        tokens: ids of all texts.
        split: their parts.
    """
    config_of = model.transformer.config
    sizes = GPT2Config(config_of.vocab_size, config_of.n_ctx, config_of.n_embd, config_of.n_layer, config_of.n_head,
                       config_of.dropout)  # an encoder takes about as much: its blocks have the same matrices
    trained = sum(parameter.size for parameter in model.trainable())
    longest = model.context if model.reading.filled else max(len(tokens[row]) for row in split.train)
    kept = memory_kept(model, tokens, split.rows) if default_backend().on_host else 0
    plan = Plan(blocks=TRAINED.get(config.train, sizes.n_layer), trained=trained,
                predicted=None if config.trains_language else 0, accumulate=config.accumulate > 1,
                saves_state=config.save_every > 0, precision=config.precision)
    needed = kept + memory_estimate(sizes, min(config.batch_size, len(split.train)), longest, plan)
    whole = Plan(saves_state=config.save_every > 0, precision=config.precision)
    return max(needed, memory_estimate(sizes, config.batch_size, longest, whole)) if config.pretrain_epochs else needed


def _as_saved(inputs: Texts, config: FinetuneConfig) -> Texts:
    """The texts for the model as it will be read back: LoRA's updates merged, half precision rounded, in float32."""
    model = inputs.model
    if config.train == "lora":
        merge_lora(model)
    _round(model, config)
    same = config.train != "lora" and not config.float16 and config.precision == "float32"
    return inputs if same else Texts(model, inputs.token_lists)


def _round(model: TextClassifier, config: FinetuneConfig) -> None:
    """Round the weights to what is stored of them."""
    if config.float16:
        model.load_state_dict({name: array.astype(np.float16) for name, array in model.arrays().items()})


def _caution(config: FinetuneConfig, split: Split) -> str:
    """What is known to have been seen of the test texts, in one line."""
    seen = []
    if split.leaked:
        seen.append(f"{split.leaked:,} of the {len(split.test):,} test texts are in the training part as well")
    for role, model in (("the base", config.base), *((f"the teacher {name}", name) for name in config.teachers)):
        if has_seen_test(model, config):
            seen.append(f"{role} was trained on texts of {Path(config.test or config.data).name} already")
    return f"new texts will fare worse than the test texts: {'; '.join(seen)}" if seen else ""
