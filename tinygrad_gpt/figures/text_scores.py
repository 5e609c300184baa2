"""How close a response is to the one that was expected."""

import re
import string
from collections import Counter

__all__ = ["exact_match", "rouge_l", "token_f1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(response: str, expected: str) -> float:
    """1 if both are the same apart from case, punctuation, articles and white space, else 0.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1.
    """
    return float(_words(response) == _words(expected))


def token_f1(response: str, expected: str) -> float:
    """Harmonic mean of the shares of words that the two have in common, in any order, 0 to 1.

    Source: as `exact_match`.
    """
    ours, theirs = _words(response), _words(expected)
    if not ours or not theirs:
        return float(ours == theirs)
    return _harmonic(sum((Counter(ours) & Counter(theirs)).values()), len(ours), len(theirs))


def rouge_l(response: str, expected: str) -> float:
    """Harmonic mean of the shares of words in the longest sequence that the two have in common, 0 to 1.

    Words are runs of letters and digits, without case or stemming.

    Source: Lin 2004, aclanthology.org/W04-1013, section 3.1, with beta = 1.
    """
    ours, theirs = (re.findall(r"[^\W_]+", text.casefold()) for text in (response, expected))
    return _harmonic(_longest_common(ours, theirs), len(ours), len(theirs)) if ours and theirs else 0.0


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split()


def _harmonic(common: int, ours: int, theirs: int) -> float:
    """2 p r / (p + r) of p = common / ours and r = common / theirs."""
    return 2 * common / (ours + theirs)


def _longest_common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    lengths = [0] * (len(b) + 1)  # of the words of `a` so far, with the first j of `b`
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, start=1):
            diagonal, lengths[j] = lengths[j], diagonal + 1 if word == other else max(lengths[j], lengths[j - 1])
    return lengths[-1]
