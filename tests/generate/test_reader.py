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
