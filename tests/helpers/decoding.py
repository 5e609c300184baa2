"""A model whose choices are clear, prompts for it, and by definition what it sees of a text."""

import numpy as np
import tiny

CONTEXT = 10
PROMPTS = [[5, 9, 30], [7], [1, 2, 3, 4, 5, 6, 7, 8], list(range(100, 114))]


def sharp(n_ctx=CONTEXT, backend=None):
    """A language model in float64 whose choices are clear."""
    saved = tiny.language_model(n_ctx)
    r = np.random.default_rng(2)
    for p in saved.model.parameters():
        values = p.numpy().astype(np.float64) + 0.3 * r.standard_normal(p.shape)
        p.data = values if backend is None else backend.from_numpy(values)
    return saved


def windows(text, n_prompt, n_ctx):
    """What the model sees of a text of which the first n_prompt tokens were the prompt, by the rule in `Reader`."""
    window = text[:n_prompt][-n_ctx:]
    for i in text[n_prompt:]:
        window = [*window, i] if len(window) < n_ctx else [*window, i][-max(n_ctx // 2, 1):]
    return window
