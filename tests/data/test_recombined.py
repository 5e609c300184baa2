"""Texts made of pieces of others."""

import pytest

from tinygrad_gpt.data.recombined import recombined

TEXTS = ["one two three four five",
         "six  seven\neight nine ten eleven twelve thirteen",
         "fourteen", "  ", "fifteen sixteen seventeen eighteen"]
WORDS = [text.split() for text in TEXTS if text.strip()]


def is_part(words, of):
    return any(words == of[i:i + len(words)] for i in range(len(of) - len(words) + 1))


def kinds(text):
    """All ways in which a text can have been made."""
    words = text.split()
    ways = {
        "part": any(is_part(words, of) for of in WORDS),
        "two parts": any(is_part(words[:i], a) and is_part(words[i:], b)
                         for i in range(1, len(words)) for a in WORDS for b in WORDS),
        "left out": any(words == [word for word in of if word in words] for of in WORDS),
        "replaced": any(len(words) == len(of) for of in WORDS),
    }
    return {name for name, is_so in ways.items() if is_so}


def test_every_text_is_made_in_one_of_the_four_ways():
    made = list(map(kinds, recombined(TEXTS, 2000, seed=3)))
    assert all(made)
    for name in ("two parts", "left out", "replaced"):
        assert {name} in made  # in this way and no other
    assert sum("part" in ways for ways in made) > 600


def test_the_seed_decides_what_is_made():
    assert recombined(TEXTS, 50, seed=1) == recombined(TEXTS, 50, seed=1)
    assert recombined(TEXTS, 50, seed=1) != recombined(TEXTS, 50, seed=2)
    assert recombined(TEXTS, 30, seed=1) == recombined(TEXTS, 50, seed=1)[:30]
    assert recombined(TEXTS, 0, seed=1) == []


@pytest.mark.parametrize("text", ["word", "two words"])
def test_one_short_text_is_enough(text):
    assert all(set(made.split()) <= set(text.split()) and made for made in recombined([text], 40, seed=0))
