"""Texts made of pieces of others, for a teacher to label.

Source: Tang et al. 2019, arXiv:1903.12136, section 3, which also leaves out words, replaces them and cuts texts short.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["recombined"]


def recombined(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Make texts of pieces of others; words are what is between white space.

    Three in ten are a part of a text, three in ten parts of two texts, two in ten a text without some of its words, and
    two in ten a text with some words of others in their place (10 to 40 % of them).

    Args:
        texts: at least one of them with a word.
        count: how many to make.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    texts_words = [words for words in map(str.split, texts) if words]
    all_words = [word for words in texts_words for word in words]
    return [" ".join(_made(texts_words, all_words, generator)) for _ in range(count)]


def _made(texts_words: list[list[str]], all_words: list[str], generator: np.random.Generator) -> list[str]:
    def some_text() -> list[str]:
        return texts_words[generator.integers(len(texts_words))]

    words, how, share = some_text(), generator.random(), generator.uniform(0.1, 0.4)
    if how < 0.3:
        return _part(words, generator)
    if how < 0.6:
        return _part(words, generator) + _part(some_text(), generator)
    chosen = generator.random(len(words)) < share
    if how < 0.8:
        return [word for word, left_out in zip(words, chosen, strict=True) if not left_out] or words
    return [all_words[generator.integers(len(all_words))] if replaced else word
            for word, replaced in zip(words, chosen, strict=True)]


def _part(words: list[str], generator: np.random.Generator) -> list[str]:
    """Two words in a row or more."""
    length = generator.integers(min(2, len(words)), len(words) + 1)
    first = generator.integers(len(words) - length + 1)
    return words[first:first + length]
