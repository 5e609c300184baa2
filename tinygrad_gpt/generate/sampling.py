"""From logits to one token: penalty, temperature, and three ways to leave out unlikely tokens.

Each step is a function of a row of raw logits (V) that returns a new one; a token that is left out gets −∞.
`Sampling.choose` applies them in this order, which is that of Hugging Face's `generate`:

    repetition penalty → temperature → top-k → top-p → min-p → draw

All of it happens on the host, so that every backend draws the same tokens from the same logits.
"""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.errors import UsageError

__all__ = [
    "Sampling", "draw", "min_p", "repetition_penalty", "scale", "softmax", "top_k", "top_p", "uniform",
]


def repetition_penalty(logits: np.ndarray, seen: Collection[int], penalty: float) -> np.ndarray:
    """Make tokens that the text already has less likely: divide their positive logits, multiply negative ones.

    Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1; the two cases are Hugging Face's.
    """
    result = logits.copy()
    ids = np.fromiter(seen, np.int64, len(seen))
    result[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return result


def scale(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Divide by the temperature: below 1 the likely tokens get likelier, above 1 all get more alike.

    The largest logit is made 0 first, which changes no probability, so that no temperature overflows.

    Source: Ackley, Hinton & Sejnowski 1985, Cognitive Science 9.
    """
    with np.errstate(over="ignore"):  # at a temperature of 1e-310 the others become −∞, as they should
        return (logits - logits.max()) / temperature


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep the k likeliest tokens, and those that tie with the last of them.

    Source: Fan, Lewis & Dauphin 2018, arXiv:1805.04833.
    """
    if k >= len(logits):
        return logits
    return _only(logits, logits >= np.partition(logits, -k)[-k])


def top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest likeliest tokens whose probabilities reach p (the nucleus), and those that tie with the last.

    Source: Holtzman et al. 2019, arXiv:1904.09751.
    """
    probabilities = softmax(logits)
    # All tokens below (1 − p) / V together have less than 1 − p: the nucleus lies above, and few need sorting.
    descending = np.sort(probabilities[probabilities >= (1 - p) / len(logits)])[::-1]
    likelier = np.cumsum(descending) - descending  # what the tokens before this one have together
    return _only(logits, probabilities >= descending[likelier < p][-1])


def min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens that are at least p times as likely as the likeliest one.

    Source: Nguyen et al. 2024, arXiv:2407.01082.
    """
    return _only(logits, np.exp(logits - logits.max()) >= p)  # e^(difference) = ratio of the probabilities


def _only(logits: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return np.where(kept, logits, -math.inf)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (V) float64 of logits (V), of which some are finite."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return exponentials / exponentials.sum()


def uniform(seed: int, sample: int, step: int) -> float:
    """A number from [0, 1) that is a function of its arguments alone."""
    digest = hashlib.blake2b(f"{seed} {sample} {step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def draw(logits: np.ndarray, u: float) -> int:
    """The token at which the cumulative probability passes u."""
    kept = np.flatnonzero(logits > -math.inf)
    cumulative = np.cumsum(softmax(logits[kept]))
    return int(kept[np.searchsorted(cumulative, u * cumulative[-1], side="right")])


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: divides the logits; 0 takes the likeliest token (greedy), of equal ones the smallest id.
        top_k: keep the k likeliest tokens; None keeps all.
        top_p: keep the likeliest tokens that together have this probability; None or 1 keeps all.
        min_p: keep tokens at least this many times as likely as the likeliest; None keeps all.
        repetition_penalty: above 1 tokens of the text so far, prompt included, get less likely.
        seed: of the draws.

    Raises:
        UsageError: "top_p is 1.5, expected above 0 and at most 1".
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self):
        _check("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 or above, and finite")
        _check("top_k", self.top_k, self.top_k is None or self.top_k >= 1, "1 or above")
        _check("top_p", self.top_p, self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1")
        _check("min_p", self.min_p, self.min_p is None or 0 <= self.min_p <= 1, "from 0 to 1")
        _check("repetition_penalty", self.repetition_penalty, 0 < self.repetition_penalty < math.inf,
               "above 0, and finite")
        _check("seed", self.seed, self.seed >= 0, "0 or above")

    def choose(self, logits: np.ndarray, seen: Collection[int], sample: int, step: int) -> int:
        """The next token of a text.

        Args:
            logits: (V) on the host, finite.
            seen: the ids that the text has.
            sample, step: number of the sample of its prompt, and of the token in it: with the seed they decide the
                draw, so a text does not depend on what else is written beside it.
        """
        logits = logits.astype(np.float64)
        if self.repetition_penalty != 1:
            logits = repetition_penalty(logits, seen, self.repetition_penalty)
        if self.temperature == 0:
            return int(logits.argmax())
        logits = scale(logits, self.temperature)
        if self.top_k is not None:
            logits = top_k(logits, self.top_k)
        if self.top_p not in (None, 1):
            logits = top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = min_p(logits, self.min_p)
        return draw(logits, uniform(self.seed, sample, step))


def _check(name: str, value: float | None, good: bool, expected: str) -> None:
    if not good:
        raise UsageError(f"{name} is {value}, expected {expected}")
