"""Pretrain a GPT-2 of any size on plain text: vocabulary, tokens, random windows, AdamW with warm-up and cosine."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.autograd import no_grad
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.data.pretraining import load_text, random_batch
from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.files import append_line, write_atomic
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.saved import SavedModel, origin, save_model
from tinygrad_gpt.text import END_OF_TEXT, Tokenizer
from tinygrad_gpt.train import Progress, train_step

__all__ = ["PretrainConfig", "pretrain"]


@dataclass(frozen=True)
class PretrainConfig:
    """Everything a run depends on.

    Args:
        data: text files (.txt, .txt.xz) to learn from; a line ``<|endoftext|>`` ends a document.
        validation: text files to measure bits per byte on; may be empty.
        vocab_size, n_ctx, n_embd, n_layer, n_head, dropout: of the model; the vocabulary is trained on the data.
        steps, batch_size: optimiser steps, and windows of n_ctx tokens in each.
        lr, warmup, weight_decay, max_norm: AdamW's peak rate (it falls to a tenth), steps of warm-up, decay, clipping.
        seed: of the initial values, the windows and the dropout masks.
        save_every: steps between checkpoints, which are also when the validation text is measured.
    """

    data: tuple[str, ...]
    validation: tuple[str, ...] = ()
    vocab_size: int = 4096
    n_ctx: int = 256
    n_embd: int = 192
    n_layer: int = 4
    n_head: int = 4
    dropout: float = 0.0
    steps: int = 3000
    batch_size: int = 16
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.1
    max_norm: float = 1.0
    seed: int = 0
    save_every: int = 250

    @property
    def digest(self) -> str:
        """Two runs with the same digest are the same run."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=8).hexdigest()


def documents(path: str) -> Iterator[str]:
    """The documents of a text file, paragraphs joined by line feeds."""
    for document in load_text(path).split(END_OF_TEXT):
        if document.strip():
            yield document.strip("\n")


def encode_documents(tokenizer: Tokenizer, paths: tuple[str, ...]) -> np.ndarray:
    """Token ids (N,) uint16 or uint32 of all documents, an end-of-text token before each and at the end."""
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    parts = [np.array([tokenizer.eot_id, *tokenizer.encode(text)], dtype) for path in paths for text in documents(path)]
    return np.concatenate([*parts, np.array([tokenizer.eot_id], dtype)])


def bits_per_byte(model: GPT2, tokens: np.ndarray, n_bytes: int, max_windows: int = 200) -> float:
    """Mean code length of a text under the model, over evenly spaced windows that do not overlap."""
    n_ctx = model.config.n_ctx
    starts = np.arange(0, len(tokens) - n_ctx - 1, n_ctx)
    starts = starts[:: max(1, len(starts) // max_windows)]
    losses = []
    with no_grad():
        for start in starts:
            window = default_backend().from_numpy(tokens[start:start + n_ctx + 1].astype(np.int64)[None])
            losses.append(ops.cross_entropy(model(window[:, :-1]), window[:, 1:]).item())
    return float(np.mean(losses)) / math.log(2) * len(tokens) / n_bytes


def pretrain(config: PretrainConfig, out: str | Path, *, resume: bool = False,
             report: Callable[[Progress], None] = lambda progress: None) -> SavedModel:
    """Run the recipe; writes vocabulary.json, log.jsonl, state.h5 (to resume from) and model.h5 into ``out``.

    Every step is a function of (seed, step), so a resumed run continues as the uninterrupted one.

    Args:
        config: the run.
        out: a folder, made if absent.
        resume: continue from its state.h5, which must come from the same config.
        report: called after each step. If it raises, the state is saved first, so that the run can be resumed.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError: with one line that says what to do.
    """
    out = Path(out)
    if (out / "state.h5").exists() and not resume:
        raise UsageError(f"cannot start ({out}): a run is already there; resume it or choose another folder")
    state = _load_state(out, config) if resume else None
    tokenizer = Tokenizer.load(out / "vocabulary.json") if resume else _train_vocabulary(config)
    tokens = encode_documents(tokenizer, config.data)
    if len(tokens) <= config.n_ctx:
        raise DataError(f"cannot pretrain ({', '.join(config.data)}): {len(tokens)} tokens, fewer than one window of "
                        f"{config.n_ctx}; give more text or a smaller context")
    evaluate = _evaluation(config, tokenizer)
    model = GPT2(GPT2Config(tokenizer.vocab_size, config.n_ctx, config.n_embd, config.n_layer, config.n_head,
                            config.dropout), seed=config.seed)
    optimizer = AdamW(model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    _start(out, tokenizer) if state is None else _restore(out, state, model, optimizer)
    scores = _train(out, config, model, optimizer, tokens, evaluate, report)
    provenance = origin("pretrain", config, [*config.data, *config.validation]) | {
        "tokens_seen": config.steps * config.batch_size * config.n_ctx, "tokens_in_data": len(tokens), **scores}
    saved = SavedModel(model.eval(), tokenizer, (), provenance)
    save_model(out / "model.h5", saved)
    return saved


def _train(out, config, model, optimizer, tokens, evaluate, report) -> dict[str, float]:
    """Do the steps that are left, with a log and checkpoints; the scores after the last one."""
    started, scores = time.monotonic(), None
    for step in range(optimizer.steps, config.steps):
        seed_dropout(model.train(), config.seed, step)
        ids, targets = map(default_backend().from_numpy,
                           random_batch(tokens, config.batch_size, config.n_ctx, seed=config.seed, step=step))
        optimizer.lr = warmup_cosine(step, config.steps, peak=config.lr, warmup=config.warmup, minimum=config.lr / 10)
        loss, norm = train_step([lambda: ops.cross_entropy(model(ids), targets)], optimizer, config.max_norm,  # noqa: B023
                                f"step {step + 1}")
        done = step + 1
        saving = done % config.save_every == 0 or done == config.steps
        scores = evaluate(model.eval()) if saving else {}
        progress = Progress(done, config.steps, loss, norm, optimizer.lr, done * ids.size, time.monotonic() - started,
                            scores)
        append_line(out / "log.jsonl", json.dumps(asdict(progress)))
        if saving:
            _save_state(out, config, model, optimizer)
        try:
            report(progress)
        except BaseException:  # Ctrl-C among them
            _save_state(out, config, model, optimizer)
            raise
    return evaluate(model.eval()) if scores is None else scores


def _train_vocabulary(config):
    return Tokenizer.train((text for file in config.data for text in documents(file)), config.vocab_size)


def _start(out, tokenizer):
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out / "vocabulary.json")
    write_atomic(out / "log.jsonl", b"")  # a run that was stopped before its first checkpoint may have left one


def _evaluation(config, tokenizer):
    if not config.validation:
        return lambda model: {}
    n_bytes = sum(len(text.encode()) + 1 for path in config.validation for text in documents(path))
    tokens = encode_documents(tokenizer, config.validation)
    return lambda model: {"bits_per_byte": bits_per_byte(model, tokens, n_bytes)}


def _save_state(out, config, model, optimizer):
    tensors = {f"model.{name}": array for name, array in model.state_dict().items()}
    tensors |= {f"optimizer.{name}": array for name, array in optimizer.state_dict().items()}
    native.save(out / "state.h5", tensors, {"kind": "pretraining state", "digest": config.digest})


def _load_state(out, config):
    state = native.load(out / "state.h5")
    if state.metadata.get("digest") != config.digest:
        raise CheckpointError(f"cannot resume ({out}): the run there had other settings; give the same, or start anew")
    return state


def _restore(out, state, model, optimizer):
    part = {kind: {name.removeprefix(kind): array for name, array in state.tensors.items() if name.startswith(kind)}
            for kind in ("model.", "optimizer.")}
    model.load_state_dict(part["model."])
    optimizer.load_state_dict(part["optimizer."])
    log = (out / "log.jsonl").read_bytes().splitlines(keepends=True)
    write_atomic(out / "log.jsonl", b"".join(log[:optimizer.steps]))  # later steps are done again
