"""The classifier that a finetuning run starts from."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tinygrad_gpt.book.initial_values import new_model
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.checkpoints.bert_names import POOLERS
from tinygrad_gpt.data.batches import truncate
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import GPT2Classifier, Reading, TextClassifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.models.lora import apply_lora, uniform_by_inputs
from tinygrad_gpt.nn import init
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.recipes.classification.classify import encode_texts
from tinygrad_gpt.recipes.classification.config import NO_FILES, TRAINED, FinetuneConfig
from tinygrad_gpt.recipes.classification.parts import role_of
from tinygrad_gpt.recipes.pretraining.corpus import load_vocabulary
from tinygrad_gpt.runs.saved_model import load_model, model_file, provenance_of
from tinygrad_gpt.text import Tokenizer

__all__ = ["has_seen_test", "interpolated", "load_base", "set_trained", "with_head"]

MOST_TIMES = 16  # of its own context, to which a GPT-2 is stretched


def load_base(config: FinetuneConfig, train_texts: list[str]) -> tuple[GPT2 | Bert, Tokenizer]:
    """The transformer to start from, with the run's dropout, and its vocabulary.

    Weights of a mapped file are not copied. What is trained, is in place: the system then gives the process a page of
    its own, and the file stays as it is.
    """
    if config.base != "random":
        loaded = load_model(config.base)
        return _with_dropout(loaded.base, config), loaded.tokenizer
    tokenizer = load_vocabulary(config.vocabulary) if config.vocabulary else Tokenizer.train(train_texts,
                                                                                             config.vocab_size)
    sizes = GPT2Config(tokenizer.vocab_size, config.n_ctx, config.n_embd, config.n_layer, config.n_head, config.dropout)
    return new_model(sizes, config.init, config.seed), tokenizer


def _with_dropout(base: GPT2 | Bert, config: FinetuneConfig) -> GPT2 | Bert:
    """The same weights in a model with the run's dropout; an encoder has a pooler only where its first token is read.

    One that was published without gets a new pooler then, as transformers' classifiers do.
    """
    if isinstance(base, GPT2):
        sizes = replace(base.config, dropout=config.dropout, n_ctx=_context(base.config.n_ctx, config))
        gpt2, arrays = GPT2(sizes, seed=None), base.arrays()
        gpt2.adopt_state_dict(arrays | {"wpe.weight": interpolated(arrays["wpe.weight"], sizes.n_ctx)})
        return gpt2
    if config.lm_weight:
        raise UsageError(f"lm_weight is {config.lm_weight}, but an encoder predicts no next token; set it to 0, or "
                         "leave it out")
    pooler = base.config.pooler if config.read == "first" else "none"
    if pooler == "none" and config.read == "first" and config.train != "head":
        pooler = POOLERS[base.config.family][1]
    bert = Bert(replace(base.config, dropout=config.dropout, pooler=pooler), seed=None)
    arrays, width = base.arrays(), base.config.n_embd
    new = {"pooler.weight": init.normal(np.random.default_rng((config.seed, width)), width, width),
           "pooler.bias": init.zeros(width)}
    bert.adopt_state_dict({name: arrays[name] if name in arrays else new[name] for name in bert.arrays()})
    return bert


def _context(own: int, config: FinetuneConfig) -> int:
    """The positions that a GPT-2 is to have: its own, or as many as are to be read, if that is more."""
    wanted = int(config.context) if config.context.isdecimal() else own
    if wanted > MOST_TIMES * own:
        raise UsageError(f"context is {wanted}, but the model reads {own} tokens; give at most {MOST_TIMES * own}, to "
                         "which its positions can be interpolated")
    return max(own, wanted)


def interpolated(positions: np.ndarray, length: int) -> np.ndarray:
    """Embeddings of positions (T, C) stretched to a longer text, (length, C): the first and the last stay.

    Source: Chen et al. 2023, arXiv:2306.15595 (position interpolation).
    """
    if length == len(positions):
        return positions
    at = np.linspace(0, len(positions) - 1, length)  # of each new position among the old ones
    below = np.minimum(at.astype(np.int64), max(0, len(positions) - 2))
    above = np.minimum(below + 1, len(positions) - 1)
    share = (at - below)[:, None].astype(positions.dtype)
    return positions[below] * (1 - share) + positions[above] * share


def has_seen_test(model: str, config: FinetuneConfig) -> bool:
    """Whether the base or a teacher was trained on texts that the run is judged on: on that file, otherwise divided.

    As far as its own file tells, which names what it was made of, but not what its base was made of.
    """
    if model in NO_FILES or not native.is_native(file := model_file(model)):
        return False
    origin = provenance_of(file)
    role = role_of(origin, sha256_of(config.test or config.data))
    if role != "data":
        return role in ("extra", "unlabelled")

    def division(settings):
        test = settings.get("test")
        return settings.get("split", "by-text"), settings.get("split_seed"), test and Path(test).name

    return division(origin.get("config", {})) != division(asdict(config))


def with_head(base: GPT2 | Bert, tokenizer: Tokenizer, texts: list[str], train: np.ndarray, n_classes: int,
              config: FinetuneConfig) -> tuple[TextClassifier, list[list[int]], int]:
    """The classifier, ready to be trained, the ids of all texts, and how many of them lost their end.

    Args:
        train: rows of the training texts, the longest of which may decide how much is read.
    """
    start = not config.no_start
    tokens, _ = encode_texts(tokenizer, texts, None, start)
    contexts = {"model": base.config.n_ctx,
                "longest": min(base.config.n_ctx, max(len(tokens[row]) for row in train))}
    context = contexts.get(config.context) or int(config.context)
    is_causal = isinstance(base, GPT2) and not config.no_causal_mask
    reading = Reading(config.read, is_causal, context, filled=config.padding == "fixed",
                      pad_id=tokenizer.eot_id if tokenizer.pad_id is None else tokenizer.pad_id, start=start)
    model = GPT2Classifier(base, n_classes, config.seed, reading) if isinstance(base, GPT2) \
        else BertClassifier(base, n_classes, config.seed, reading)
    _initialise(model, config)
    return model, *truncate(tokens, context, model.specials // 2)


def _initialise(model: TextClassifier, config: FinetuneConfig) -> None:
    """The head's values and those of LoRA, by the rules of the run, and what is trained."""
    model.head_drop.p = config.head_dropout
    draw = uniform_by_inputs(config.seed)
    width, n_classes = model.score.weight.shape
    if config.init == "book":
        stream = TorchStream(config.seed)
        weight, bias = stream.linear(width, n_classes)
        model.score.load_state_dict({"weight": weight.T, "bias": np.asarray(bias)})

        def draw(n_in: int, rank: int) -> np.ndarray:  # as the book has it: by the rank, where n_in was meant
            return stream.uniform(n_in, rank, low=-rank**-0.5, high=rank**-0.5)

    if config.train == "lora":
        targets = config.targets.split(",")
        apply_lora(model, config.rank, config.alpha, targets, draw)
        if "score" not in targets:
            model.score.freeze(False)
    else:
        set_trained(model, config.train)


def set_trained(model: TextClassifier, train: str) -> None:
    """Freeze all but the head, what is between it and the blocks, and the last blocks; see `TRAINED`."""
    blocks = TRAINED[train]
    model.freeze(blocks is not None)
    if blocks is not None:
        model.score.freeze(False)
        if blocks:
            for part in (*model.transformer.ends, *model.transformer.h[-blocks:]):
                part.freeze(False)
