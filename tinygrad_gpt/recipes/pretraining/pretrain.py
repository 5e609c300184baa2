"""Pretrain a GPT-2 of any size on plain text: vocabulary, tokens, windows, AdamW with warm-up and cosine.

Every step is a function of (seed, step) and of the state before it, so that a run that was stopped, however, and
is resumed is bit for bit the uninterrupted one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from os.path import abspath
from pathlib import Path
from typing import Any

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.book.initial_values import initial_values
from tinygrad_gpt.book.torch_stream import TorchStream
from tinygrad_gpt.data.pretraining import consecutive_batch, random_batch, steps_per_epoch
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.figures.perplexity import measure_perplexity
from tinygrad_gpt.files import run_lock
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.optim import warmup_cosine
from tinygrad_gpt.recipes.generate import GenerateConfig, generate
from tinygrad_gpt.recipes.pretraining.config import PretrainConfig
from tinygrad_gpt.recipes.pretraining.corpus import load_corpus, load_vocabulary, make_corpus, save_corpus
from tinygrad_gpt.recipes.pretraining.run import Run, describe, settings_of
from tinygrad_gpt.runs.folder import Log, holds_run, read_run, write_run
from tinygrad_gpt.runs.progress import Preparation, Progress
from tinygrad_gpt.runs.saved_model import SavedModel, file_digest, load_model, model_file
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import train_step
from tinygrad_gpt.train.memory import check_memory, memory_estimate

__all__ = ["PretrainConfig", "pretrain", "resume"]

EVALUATED_WINDOWS = 200  # of the validation text, about, evenly spaced
SAMPLE_TOKENS = 64  # that the model adds to each prompt of `sample`


def pretrain(config: PretrainConfig, out: str | Path, *, report: Callable[[Progress], None] = lambda progress: None,
             prepare: Callable[[Preparation], None] = lambda preparation: None) -> SavedModel:
    """Start a run and do all its steps; `pretrain_run.py` says what it leaves in its folder.

    Args:
        config: the run.
        out: a folder, made if absent.
        report: called after each step. If it raises, the state is saved first.
        prepare: called while the text is read, and once more, with "training", when the run can be resumed.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: with one line that says what to do.
    """
    out = Path(out)
    _refuse_second_run(out)
    base = None if config.base is None else load_model(config.base)
    tokenizer = base.tokenizer if base else load_vocabulary(config.vocabulary) if config.vocabulary else None
    corpus = make_corpus(config, tokenizer, prepare)
    model = _new_model(config, corpus.tokenizer, base)
    _check_length(config, corpus, config.n_ctx or model.config.n_ctx)
    config = replace(config, data=tuple(map(abspath, config.data)), validation=tuple(map(abspath, config.validation)))
    _check_memory(config, model.config)
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out), precision(config.precision):
        _refuse_second_run(out)  # which may have begun while the text was read
        saved = save_corpus(corpus, out)
        notes = describe(config, model, saved, _base_digest(config))
        run = Run(out, notes, config, load_corpus(out, saved), model)
        run.save_state()
        write_run(out, notes)  # the last: what is there now can be resumed
        prepare(Preparation("training"))
        return _train(run, report)


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
    _check_given(out, config, given or {})
    _check_memory(config, GPT2Config(**notes["model"]))
    with run_lock(out), precision(config.precision):
        run = Run(out, notes, config, load_corpus(out, notes["corpus"]), GPT2(GPT2Config(**notes["model"]), seed=None))
        run.restore()
        prepare(Preparation("training"))
        return _train(run, report)


def _refuse_second_run(out):
    if holds_run(out):
        raise UsageError(f"cannot start ({out}): a run is already there; resume it or choose another folder")


def _check_memory(config, sizes):
    """Refuse a run that will not fit into memory before anything is written."""
    check_memory(memory_estimate(sizes, config.batch_size, config.n_ctx or sizes.n_ctx, recompute=config.recompute,
                                 accumulate=config.accumulate > 1, precision=config.precision),
                 "a smaller model" if config.recompute else "--recompute")


def _check_given(out, config, given):
    """Refuse settings that are not the run's: they would change it silently."""
    for name, value in given.items():
        if name in ("data", "validation"):
            value = tuple(map(abspath, value))
        if value != getattr(config, name):
            raise UsageError(f"cannot resume ({out}): {name} is {value}, but the run has {getattr(config, name)}; "
                             "leave it out, or start a new run in another folder")


def _new_model(config: PretrainConfig, tokenizer: Tokenizer, base: SavedModel | None) -> GPT2:
    """The model before the first step: the base, or initial values."""
    if base:
        own = base.transformer
        if config.n_ctx and config.n_ctx > own.config.n_ctx:
            raise UsageError(f"n_ctx is {config.n_ctx}, but the context of {config.base} is {own.config.n_ctx}; "
                             "choose that or less")
        model = GPT2(replace(own.config, dropout=config.dropout), seed=None)
        model.adopt_state_dict(own.state_dict())
        return model
    sizes = GPT2Config(tokenizer.vocab_size, config.n_ctx or 256, config.n_embd or 192, config.n_layer or 4,
                       config.n_head or 4, config.dropout, qkv_bias=config.qkv_bias, tied_head=config.tied_head)
    if config.init == "gpt2":
        return GPT2(sizes, seed=config.seed)
    model = GPT2(sizes, seed=None)
    model.load_state_dict(initial_values(TorchStream(config.seed), vocab_size=sizes.vocab_size, n_ctx=sizes.n_ctx,
                                    n_embd=sizes.n_embd, n_layer=sizes.n_layer, qkv_bias=sizes.qkv_bias,
                                    tied_head=sizes.tied_head))
    return model


def _base_digest(config):
    file = None if config.base is None else model_file(config.base)
    return {file.name: file_digest(file)} if file and file.is_file() else {}


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


def _train(run: Run, report: Callable[[Progress], None]) -> SavedModel:
    """Do the steps that are left."""
    config, started = run.config, time.monotonic()
    log = Log(run.folder / "log.jsonl", run.optimizer.steps)
    while not run.finished:
        loss, norm = _step(run)
        done = run.optimizer.steps
        scores = _evaluate(run) if done % config.eval_every == 0 or done == run.total else {}
        sampling = config.sample and (done % (config.sample_every or config.eval_every) == 0 or done == run.total)
        progress = Progress(done, run.total, loss, norm, run.optimizer.lr, done * config.windows_per_step * run.n_ctx,
                            time.monotonic() - started, scores, _samples(run) if sampling else [])
        log.append(progress)
        if config.patience and scores and not run.stale:
            run.save_model(progress)
        if done % config.save_every == 0 or run.finished:
            run.checkpoint(log.entries)
        try:
            report(progress)
        except BaseException:  # Ctrl-C among them
            run.checkpoint(log.entries)
            raise
    return load_model(run.folder / "model.h5")


def _step(run: Run) -> tuple[float, float]:
    """One optimiser step over all its micro-batches; returns the loss and the norm of the gradient."""
    config, step = run.config, run.optimizer.steps
    settings = {"seed": config.seed, "step": step}
    if config.windows == "consecutive":
        settings["stride"] = config.stride or run.n_ctx
    draw = consecutive_batch if config.windows == "consecutive" else random_batch
    ids, targets = map(default_backend().from_numpy,
                       draw(run.corpus.train, config.windows_per_step, run.n_ctx, **settings))  # (B, T)
    seed_dropout(run.model.train(), config.seed, step)
    run.optimizer.lr = warmup_cosine(step, run.total, peak=config.lr, warmup=config.warmup,
                                     minimum=config.lr / 10 if config.min_lr is None else config.min_lr)

    def loss_of(rows: slice) -> Callable[[], Tensor]:
        return lambda: run.model.loss(ids[rows], targets[rows])

    return train_step([loss_of(slice(i, i + config.batch_size)) for i in range(0, len(ids), config.batch_size)],
                      run.optimizer, config.max_norm, f"step {step + 1}", run.model, run.loss_scale)


def _evaluate(run: Run) -> dict[str, float]:
    """Figures on the validation text; keeps count of how long they have not become better."""
    if not len(run.corpus.validation):
        return {}
    figures = measure_perplexity(run.model, run.corpus.validation, run.corpus.validation_bytes,
                                 max_windows=EVALUATED_WINDOWS)
    run.stale = 0 if figures.loss < run.best_loss else run.stale + 1
    run.best_loss = min(figures.loss, run.best_loss)
    return {"validation_loss": figures.loss, "perplexity": figures.perplexity, "bits_per_byte": figures.bits_per_byte}


def _samples(run: Run) -> list[str]:
    """What the model writes behind each prompt; the same random numbers every time, so that samples compare."""
    saved = SavedModel(run.model.eval(), run.corpus.tokenizer, (), {})
    written = generate(saved, run.config.sample, GenerateConfig(max_new_tokens=SAMPLE_TOKENS, seed=run.config.seed))
    return [completion.prompt + completion.text for completion in written]
