"""Pretrain a GPT-2 of any size on plain text: vocabulary, tokens, windows, AdamW with warm-up and cosine."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from os.path import abspath
from pathlib import Path
from typing import Any

from tinygrad_gpt.backend.precision import check_precision, precision
from tinygrad_gpt.book.initial_values import new_model
from tinygrad_gpt.data.pretraining import steps_per_epoch
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.files import run_lock, sha256_of
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.pretraining.config import PretrainConfig
from tinygrad_gpt.recipes.pretraining.corpus import load_corpus, load_vocabulary, make_corpus, save_corpus
from tinygrad_gpt.recipes.pretraining.grow import grown
from tinygrad_gpt.recipes.pretraining.task import PretrainTask, describe, settings_of
from tinygrad_gpt.runs.folder import check_given, read_run, refuse_second_run
from tinygrad_gpt.runs.progress import Preparation, Progress
from tinygrad_gpt.runs.run import Run, begin
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, model_file
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train.memory import Plan, check_memory, memory_estimate

__all__ = ["PretrainConfig", "pretrain", "resume"]


def pretrain(config: PretrainConfig, out: str | Path, *, report: Callable[[Progress], None] = lambda progress: None,
             prepare: Callable[[Preparation], None] = lambda preparation: None) -> SavedModel:
    """Start a run and do all its steps; `task.py` says what it leaves in its folder.

    Args:
        config: the run.
        out: a folder, made if absent.
        report: called after each step. If it raises, the state is saved first.
        prepare: called while the text is read, and once more, with "training", when the run can be resumed.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: with one line that says what to do.
    """
    out = Path(out)
    refuse_second_run(out)
    check_precision(config.precision)
    base = None if config.base is None else load_model(config.base)
    tokenizer = base.tokenizer if base else load_vocabulary(config.vocabulary) if config.vocabulary else None
    corpus = make_corpus(config, tokenizer, prepare)
    sizes = _sizes(config, corpus.tokenizer, base)
    _check_length(config, corpus, config.n_ctx or sizes.n_ctx)
    _check_memory(config, sizes)  # before the model is made
    model = grown(base.transformer, sizes.n_layer, sizes.n_ctx, config.dropout) if base else new_model(
        sizes, config.init, config.seed)
    config = replace(config, data=tuple(map(abspath, config.data)), validation=tuple(map(abspath, config.validation)))
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out), precision(config.precision):
        refuse_second_run(out)  # which may have begun while the text was read
        saved = save_corpus(corpus, out)
        current_group().wait()  # until the first rank has written it
        notes = describe(config, model, saved, _base_digest(config))
        run = begin(out, notes, PretrainTask(notes, config, load_corpus(out, saved), model))
        prepare(Preparation("training"))
        run.task.show(out, run.train(report))
    return load_model(out / "model.h5")


def resume(out: str | Path, given: Mapping[str, Any] | None = None, *,
           report: Callable[[Progress], None] = lambda progress: None,
           prepare: Callable[[Preparation], None] = lambda preparation: None) -> SavedModel:
    """Go on with a run that was stopped; a finished one is left as it is.

    Args:
        out: its folder.
        given: settings, by their names in `PretrainConfig`, that must be those of the run.
        report, prepare: as in `pretrain`.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: with one line that says what to do.
    """
    out = Path(out)
    notes = read_run(out)
    config = settings_of(notes, out)
    check_given(out, config, {name: tuple(map(abspath, value)) if name in ("data", "validation") else value
                              for name, value in (given or {}).items()})
    _check_memory(config, GPT2Config(**notes["model"]))
    with run_lock(out), precision(config.precision):
        model = GPT2(GPT2Config(**notes["model"]), seed=None)
        run = Run(out, notes, PretrainTask(notes, config, load_corpus(out, notes["corpus"]), model))
        run.restore()
        prepare(Preparation("training"))
        run.task.show(out, run.train(report))
    return load_model(out / "model.h5")


def _check_memory(config, sizes):
    """Refuse a run that will not fit into memory before anything is written."""
    plan = Plan(recompute=config.recompute, accumulate=config.accumulate > 1, precision=config.precision)
    check_memory(memory_estimate(sizes, config.batch_size, config.n_ctx or sizes.n_ctx, plan),
                 "a smaller model" if config.recompute else "--recompute")


def _sizes(config: PretrainConfig, tokenizer: Tokenizer, base: SavedModel | None) -> GPT2Config:
    """Of the model before the first step: those of the base, grown, or of a new one."""
    if base:
        sizes = base.transformer.config
        return replace(sizes, n_layer=config.n_layer or sizes.n_layer, n_ctx=max(config.n_ctx or 0, sizes.n_ctx),
                       dropout=config.dropout)
    return GPT2Config(tokenizer.vocab_size, config.n_ctx or 256, config.n_embd or 192, config.n_layer or 4,
                      config.n_head or 4, config.dropout, qkv_bias=config.qkv_bias, tied_head=config.tied_head)


def _base_digest(config):
    file = None if config.base is None else model_file(config.base)
    return {file.name: sha256_of(file)} if file and file.is_file() else {}


def _check_length(config, corpus, n_ctx):
    """Refuse a text that is too short before anything is written."""
    if len(corpus.train) <= n_ctx:
        raise DataError(f"cannot pretrain (data): {len(corpus.train)} tokens, fewer than one window of {n_ctx} and the "
                        "token behind it; give more text or a smaller context")
    if config.hold_out and not len(corpus.validation):
        raise DataError(f"cannot hold out (data): a share of {config.hold_out} of each file leaves no text to measure "
                        "on; give more text or a larger share")
    if config.windows == "consecutive":
        steps_per_epoch(len(corpus.train), config.windows_per_step, n_ctx, config.stride or n_ctx)
