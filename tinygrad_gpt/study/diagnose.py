"""What is wrong with a gradient, in words, from values alone: a rule beside differences of its forward pass.

A sentence is said only if it holds on two draws of the arguments, so that no coincidence is taken for a cause.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tinygrad_gpt.study.cases import Case, Rule, cases_of
from tinygrad_gpt.study.claims import CLAIMS, raises
from tinygrad_gpt.study.gradcheck import Draw, split_sample
from tinygrad_gpt.study.shapes import other_shape

__all__ = ["Diagnosis", "diagnose", "holds"]

LARGEST = 250  # entries of all arrays of a call whose differences are taken
DIFFERENCE = "difference"  # the kind where no cause was found
RANKS = {kind: rank for rank, kind in enumerate([*CLAIMS, DIFFERENCE])}
CERTAIN = RANKS["one_term"]  # what ranks before it is looked for on one sample only
TRIES = 2  # samples of an argument on which a cause is sought, small ones first


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with the gradient of one argument.

    Args:
        kind: name of the claim, such as "factor"; "difference" where no cause was found.
        sample, argument: where it was found.
        text: the sentence.
        joint: whether it was raised by one function of all gradients, and says nothing of this argument.
    """

    kind: str
    sample: int
    argument: str
    text: str
    joint: bool = False

    def __str__(self):
        return self.text if self.joint else f"gradient of '{self.argument}': {self.text}"


def diagnose(rule: Rule, forward: Rule, samples: Callable, seed: int = 0, broadcasts: bool = False) -> list[Diagnosis]:
    """Say what is wrong with each gradient of a rule.

    Args:
        rule: the plain function of an op, ``f(xp, *arrays, **settings) -> (y, pullbacks)``.
        forward: the same, of which only y is used, and the names of its local variables.
        samples: as an op is registered with.
        seed: of the draws.
        broadcasts: whether the engine sums gradients down to the shapes of the arguments.

    Returns:
        One for each argument whose gradient is wrong: what says most of the smallest samples on which it is.
    """
    draws = [_cases(rule, forward, samples, seed + k, broadcasts) for k in (0, 1)]
    found: dict[str, Diagnosis] = {}
    tried: Counter[str] = Counter()
    for (number, case), (_, again) in sorted(zip(*draws, strict=True), key=lambda pair: _entries(pair[0][1])):
        known = found.get(case.name)
        if (known and RANKS[known.kind] < CERTAIN) or tried[case.name] == TRIES or case.passed:
            continue
        tried[case.name] += 1
        kind, text = _cause(case, again)
        if known is None or RANKS[kind] < RANKS[known.kind]:
            joint = text.startswith("raises ") and case.is_joint
            found[case.name] = Diagnosis(kind, number, case.name, text, joint)
    return list(found.values())


def holds(diagnosis: Diagnosis, rule: Rule, forward: Rule, samples: Callable, seed: int, broadcasts=False) -> bool:
    """Whether a diagnosis is what a new draw says, too."""
    for number, case in _cases(rule, forward, samples, seed, broadcasts):
        if (number, case.name) == (diagnosis.sample, diagnosis.argument):
            return _said(CLAIMS[diagnosis.kind], case) == diagnosis.text
    return False


def _cases(rule, forward, samples, seed, broadcasts) -> list[tuple[int, Case]]:
    """Number of the sample and case of all arguments on all small samples; those of one argument know each other."""
    found, siblings = [], defaultdict[str, list[Case]](list)
    for number, sample in enumerate(samples(Draw(seed))):
        for case in cases_of(rule, forward, split_sample(sample), seed, broadcasts):
            if _entries(case) <= LARGEST:
                found.append((number, replace(case, siblings=siblings[case.name])))
                siblings[case.name].append(found[-1][1])
    return found


def _entries(case: Case) -> int:
    return case.g.size + sum(np.size(a) for a in case.arguments)


def _cause(case: Case, again: Case) -> tuple[str, str]:
    """Kind and text of the first claim that holds on both draws."""
    if (text := raises(case)) and raises(again):  # the texts of errors may hold numbers
        return "raises", text
    for kind, claim in CLAIMS.items():
        if (text := _said(claim, case)) and text == _said(claim, again):
            return kind, text
        if kind == other_shape.__name__ and (text := _said(claim, case) or _said(claim, again)):
            return kind, text  # arrays of other shapes are not compared
    if text := raises(case) or raises(again):
        return "raises", f"{text} (not for all values)"
    gap = np.abs(case.yours - case.right)
    at = tuple(int(k) for k in np.unravel_index(gap.argmax(), gap.shape))
    return DIFFERENCE, f"entry {list(at)} is {case.yours[at]:.6g}, by differences {case.right[at]:.6g}"


def _said(claim: Callable, case: Case) -> str | None:
    """The sentence of a claim; None also where it cannot be tried, because the rule raises now and then."""
    try:
        with np.errstate(all="ignore"):
            return claim(case)
    except Exception:
        return None
