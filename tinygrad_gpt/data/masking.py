"""Hidden tokens for masked language modelling: BERT's recipe.

Of each text 15 % of the tokens are chosen, at least one. Of these, 80 % become `[MASK]`, 10 % a token drawn at random,
and 10 % stay as they are; the model is asked for the token that was there.

Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1; `create_pretraining_data.py` of google-research/bert.
"""

import numpy as np

from tinygrad_gpt.data.instructions import IGNORED

__all__ = ["mask_tokens"]

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1


def mask_tokens(ids: np.ndarray, maskable: np.ndarray, mask_id: int, vocab_size: int,
                generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hide some tokens of texts.

    Args:
        ids: (B, T) integers.
        maskable: (B, T) bool, which tokens may be hidden: those of the text, not `[CLS]`, `[SEP]` and the padding.
        mask_id: of `[MASK]`.
        vocab_size: replacements are drawn from ids below it.
        generator: of the draws.

    Returns:
        The texts with hidden tokens (B, T), and the targets (B, T): the id of each chosen token, `IGNORED` elsewhere.
    """
    n_maskable = maskable.sum(axis=1, keepdims=True)  # (B, 1)
    n_chosen = np.minimum(n_maskable, np.maximum(1, np.rint(CHOSEN * n_maskable)))
    order = np.where(maskable, generator.random(ids.shape), 2.0).argsort(axis=1)  # the maskable first, shuffled
    chosen = np.zeros(ids.shape, bool)
    np.put_along_axis(chosen, order, np.arange(ids.shape[1]) < n_chosen, axis=1)
    draw, replacements = generator.random(ids.shape), generator.integers(0, vocab_size, ids.shape)
    hidden = np.where(chosen & (draw < MASKED), mask_id, ids)
    hidden = np.where(chosen & (draw >= MASKED) & (draw < MASKED + REPLACED), replacements, hidden)
    return hidden, np.where(chosen, ids, IGNORED)
