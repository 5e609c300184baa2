"""Learning rates as functions of the step."""

import math

__all__ = ["warmup_cosine"]


def warmup_cosine(step: int, total: int, *, peak: float, warmup: int = 0, initial: float | None = None,
                  minimum: float = 0.0) -> float:
    """Rise in a line from ``initial`` to ``peak`` over ``warmup`` steps, then fall along a cosine to ``minimum``.

    Args:
        step: 0 … total − 1.
        total: length of the run in steps.
        initial: rate of step 0, if there is a warm-up; None: peak / (warmup + 1), so that step n of the warm-up has
            peak · (n + 1) / (warmup + 1) and the first step trains.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983; the warm-up is nanoGPT's.
    """
    if step < warmup:
        if initial is None:
            initial = peak / (warmup + 1)
        return initial + (peak - initial) * step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return minimum + 0.5 * (peak - minimum) * (1 + math.cos(math.pi * progress))
