"""Initial values, drawn on the host so that every backend starts from the same numbers.

NumPy imports its generators when `np.random` is first touched, so the annotations that name it are strings.
"""

import numpy as np

__all__ = ["normal", "ones", "zeros"]


def normal(generator: "np.random.Generator | None", *shape: int, std: float = 0.02) -> np.ndarray:
    """Normal with mean 0, float32. GPT-2's standard deviation is 0.02 (openai/gpt-2, src/model.py).

    Without a generator zeros, for weights that are about to be loaded.
    """
    if generator is None:
        return zeros(*shape)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(std)


def zeros(*shape: int) -> np.ndarray:
    """float32 zeros."""
    return np.zeros(shape, np.float32)


def ones(*shape: int) -> np.ndarray:
    """float32 ones."""
    return np.ones(shape, np.float32)
