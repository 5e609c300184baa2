"""A reader of several texts says what the model says of each, and reads each token once."""

import numpy as np
import pytest
from decoding import CONTEXT, PROMPTS, sharp, windows

from tinygrad_gpt import no_grad
from tinygrad_gpt.generate.reader import Reader


@pytest.fixture(scope="module")
def saved():
    return sharp()


def test_the_prompt_is_read_once_and_the_head_computed_at_its_end_only(saved):
    shapes, head = [], saved.model.head
    saved.model.head = lambda x: (shapes.append(x.shape), head(x))[1]
    try:
        reader = Reader(saved.model, PROMPTS[:3], 5)
        reader.repeat(2)
        reader.append([1] * 6)
    finally:
        del saved.model.head
    assert shapes == [(3, 16), (6, 16)]
    assert reader.cache.capacity == CONTEXT
    assert Reader(saved.model, [[1], [2, 3]], 5).cache.capacity == 7


def test_the_reader_says_what_the_model_says(saved):
    reader = Reader(saved.model, PROMPTS, 30)
    texts = [list(prompt) for prompt in PROMPTS]
    r = np.random.default_rng(0)
    for step in range(25):
        if step == 12:
            reader.keep(np.array([3, 0, 2]))
            texts = [texts[i] for i in (3, 0, 2)]
        prompts = PROMPTS if step < 12 else [PROMPTS[i] for i in (3, 0, 2)]
        for text, prompt, logits in zip(texts, prompts, reader.logits, strict=True):
            with no_grad():
                direct = saved.model(np.array([windows(text, len(prompt), CONTEXT)])).numpy()[0, -1]
            np.testing.assert_allclose(logits, direct, rtol=0, atol=1e-10)
        new = r.integers(0, 250, len(texts)).tolist()
        reader.append(new)
        for text, i in zip(texts, new, strict=True):
            text.append(i)


@pytest.mark.parametrize(("length", "rest", "shared"), [
    (30, [[1], [2, 3], [4]], 30), (30, [[], [2, 3], [4]], 29), (30, [[7], [7], [7]], 30), (50, [[1]], 0),
    (24, [[1], [2], [3]], 24), (23, [[1], [2], [3]], 0)])  # the last saves 46 tokens, fewer than a pass is worth
def test_a_common_beginning_is_computed_once(length, rest, shared):
    model = sharp(n_ctx=64).model
    beginning = np.random.default_rng(0).integers(0, 250, length).tolist()
    texts, passes, hidden = [beginning + more for more in rest], [], model.hidden
    model.hidden = lambda ids, *more: (passes.append(ids.shape), hidden(ids, *more))[1]
    reader = Reader(model, texts, 5)
    del model.hidden
    assert passes == [(1, shared)] * (shared > 0) + [(len(texts), max(map(len, texts)) - shared)]
    for new in (5, 6):
        reader.append([new] * len(texts))
        for text, logits in zip(texts, reader.logits, strict=True):
            text.append(new)
            with no_grad():
                direct = model(np.array([text])).numpy()[0, -1]
            np.testing.assert_allclose(logits, direct, rtol=0, atol=1e-10)
