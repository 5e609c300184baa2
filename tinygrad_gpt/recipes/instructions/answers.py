"""Answers in responses, and how to choose one response of several.

A response to a task that can be checked ends in its answer. Several responses, drawn independently, say more than one:
the answer that most of them give is right more often than a single one (self-consistency), and a score can pick the
best of them (best of N).

Source: Wang et al. 2023, arXiv:2203.11171; Cobbe et al. 2021, arXiv:2110.14168, section 4 (best of N).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygrad_gpt.recipes.generate import Completion

__all__ = ["Choice", "answer_of", "best_of", "is_right", "majority", "mean_log_probability"]

NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Choice:
    """The response that was chosen among several.

    Args:
        completion: it.
        answer: the answer in it, as `answer_of` finds it.
        score: what it was chosen by: its share of the votes, or its score.
        answers: how many responses gave each answer, the commonest first.
    """

    completion: Completion
    answer: str
    score: float
    answers: dict[str, int]


def answer_of(text: str) -> str:
    """The answer in a response: its last number, written in one way; without a number, the whole text in lower case.

    >>> answer_of("She has 3 bags of 400, so 1,200.0 in all."), answer_of(" Paris ")
    ('1200', 'paris')
    """
    numbers = NUMBER.findall(text)
    if not numbers:
        return " ".join(text.lower().split()).rstrip(".")
    number = numbers[-1].replace(",", "").replace("−", "-")
    whole, _, decimals = number.partition(".")
    decimals = decimals.rstrip("0")
    sign, digits = ("-" if whole.startswith("-") else ""), whole.lstrip("-").lstrip("0") or "0"
    number = digits + (f".{decimals}" if decimals else "")
    return number if number == "0" else sign + number


def is_right(response: str, expected: str) -> bool:
    """Whether a response gives the expected answer."""
    return answer_of(response) == answer_of(expected)


def majority(completions: Sequence[Completion]) -> Choice:
    """The likeliest response among those that give the commonest answer; of equally common answers, the likeliest.

    Args:
        completions: to the same prompt, at least one.
    """
    counts = _counted(completions)
    most = max(counts.values())
    candidates = [completion for completion in completions if counts[answer_of(completion.text)] == most]
    chosen = max(candidates, key=mean_log_probability)
    return Choice(chosen, answer_of(chosen.text), most / len(completions), counts)


def mean_log_probability(completion: Completion) -> float:
    """Mean natural log-probability of the tokens of a response under the model that wrote it; −inf without a token."""
    return sum(completion.logprobs) / len(completion.logprobs) if completion.logprobs else -float("inf")


def best_of(completions: Sequence[Completion], score: Callable[[Completion], float] = mean_log_probability) -> Choice:
    """The response with the highest score, of equal ones the first.

    Args:
        completions: to the same prompt, at least one.
        score: higher is better.
    """
    scores = [score(completion) for completion in completions]
    number = max(range(len(scores)), key=scores.__getitem__)
    chosen = completions[number]
    return Choice(chosen, answer_of(chosen.text), scores[number], _counted(completions))


def _counted(completions: Sequence[Completion]) -> dict[str, int]:
    return dict(Counter(answer_of(completion.text) for completion in completions).most_common())
