"""Learning rates as functions of the step."""

import math

__all__ = ["warmup_cosine"]


def warmup_cosine(step: int, total: int, *, peak: float, warmup: int = 0, initial: float = 0.0,
                  minimum: float = 0.0) -> float:
    """Rise in a line from ``initial`` to ``peak`` over ``warmup`` steps, then fall along a cosine to ``minimum``.

    Args:
        step: 0 … total − 1.
        total: length of the run in steps.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983.
    """
    if step < warmup:
        return initial + (peak - initial) * step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return minimum + 0.5 * (peak - minimum) * (1 + math.cos(math.pi * progress))
