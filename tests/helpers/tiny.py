"""Models and data small enough to train in a test."""

import json
import random
from pathlib import Path

import numpy as np

from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Tokenizer, WordPiece

WORDS = {"code": ["bug", "loop", "test", "stack"], "snow": ["ice", "ski", "cold", "frost"],
         "sun": ["beach", "sand", "swim", "heat"]}


def texts(number: int = 60, classes: tuple[str, ...] = tuple(WORDS)) -> list[tuple[str, str]]:
    """(text, label) pairs that a bag of words tells apart; all different."""
    generator = random.Random(0)
    labels = [classes[i % len(classes)] for i in range(number)]
    return [(" ".join(generator.choices(WORDS[label], k=4)) + f" {i}", label) for i, label in enumerate(labels)]


def labelled_file(path: Path, number: int = 60, classes: tuple[str, ...] = tuple(WORDS)) -> Path:
    """A CSV file of such texts."""
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in texts(number, classes)))
    return path


def text_file(path: Path, documents: int = 20) -> Path:
    """A text to pretrain on."""
    path.write_text("<|endoftext|>".join(f"{text} and {label}.\n" for text, label in texts(documents)) * 3)
    return path


def language_model(n_ctx: int = 16, seed: int = 0) -> SavedModel:
    """An untrained GPT-2 of two narrow blocks."""
    tokenizer = Tokenizer.train([text for text, _ in texts()], 300)
    config = GPT2Config(tokenizer.vocab_size, n_ctx=n_ctx, n_embd=16, n_layer=2, n_head=2)
    return SavedModel(GPT2(config, seed=seed).eval(), tokenizer, (), {"recipe": "test"})


def classifier(labels: tuple[str, ...] = tuple(WORDS), n_ctx: int = 16, **provenance: object) -> SavedModel:
    """The same with a head; its answers differ from text to text."""
    base = language_model(n_ctx)
    model = GPT2Classifier(base.transformer, len(labels))
    model.score.weight.data[...] *= np.float32(50)  # untrained scores are all but equal
    return SavedModel(model.eval(), base.tokenizer, labels, {"recipe": "test", **provenance})


def encoder_classifier(read: str = "first", n_ctx: int = 16) -> SavedModel:
    """A BERT of two blocks that classifies; its vocabulary is one of letters."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokenizer = WordPiece([*special, *letters, *(f"##{letter}" for letter in letters)])
    config = BertConfig(tokenizer.vocab_size, n_ctx, n_embd=16, n_layer=2, n_head=2, n_inner=24,
                        pooler="tanh" if read == "first" else "none")
    model = BertClassifier(Bert(config), len(WORDS), reading=Reading(read, causal=False))
    model.score.weight.data[...] *= np.float32(50)
    return SavedModel(model.eval(), tokenizer, tuple(WORDS), {"recipe": "test"})


def instruction_file(path: Path, number: int = 20, **more: str) -> Path:
    """Short instructions, half of them with an input; ``more`` gives every entry further keys."""
    entries = [{"instruction": f"Say {label}", "input": text.split()[0] if i % 2 else "",
                "output": text.split()[1], **more} for i, (text, label) in enumerate(texts(number))]
    path.write_text(json.dumps(entries))
    return path
