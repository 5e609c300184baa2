"""The HTML page of one step of a model on a text."""

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.figures.step_page import LIMIT, WORDS, Page, Reading, step_page
from tinygrad_gpt.models.classifier import TextClassifier
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.recipes.text_step import TextStep
from tinygrad_gpt.study.explain import Explanation

__all__ = ["page_of_step"]


def page_of_step(step: TextStep, explanation: Explanation | None = None, limit: int = LIMIT) -> Page:
    """Record a step and make its page.

    Args:
        step: of a language model or a classifier.
        explanation: of one entry of a gradient in this step.
        limit: of the page's size, in bytes.
    """
    trace = step.trace("float32")
    with no_grad():
        rows = _probabilities(step)
    name = step.labels.__getitem__ if step.labels else step.decode
    answers = tuple(tuple((name(int(i)), float(row[i])) for i in np.argsort(-row)[:WORDS]) for row in rows)
    kind = "GPT-2" if isinstance(step.transformer, GPT2) else "an encoder"
    title = f"One training step of {kind}: {step.model.size:,} parameters, {len(step.tokens):,} tokens"
    table = step.transformer.wte.weight.numpy()
    reading = Reading(title, step.tokens, step.targets, answers, table, step.decode, explanation)
    return step_page(trace, reading, limit)


def _probabilities(step: TextStep) -> np.ndarray:
    """(T, V) for the first sequence, or (1, K) for a classifier."""
    if isinstance(step.model, TextClassifier):
        return ops.softmax(step.model(step.ids, np.array([len(step.tokens)]))).numpy()
    return ops.softmax(step.model(step.ids[:1])).numpy()[0]
