"""Scaling of the loss in float16."""

from collections.abc import Mapping

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["LossScale"]

GROWTH = 2000  # good steps in a row before the scale is doubled


class LossScale:
    """A factor of the loss that keeps small gradients above the smallest float16, 6e-8, and large ones below 65504.

    A step whose gradients are not finite is run again with half the scale, so that no data are lost (torch skips the
    batch). After 2000 good steps in a row the scale is doubled.

    Attributes:
        value: a power of 2.
        good_steps: in a row, since the scale last changed.

    Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2; torch.amp.GradScaler.
    """

    def __init__(self, value: float = 2.0**16):
        self.value, self.good_steps = value, 0

    def grow(self) -> None:
        """Count a step that was good."""
        self.good_steps += 1
        if self.good_steps == GROWTH:
            self.value, self.good_steps = self.value * 2, 0

    def shrink(self) -> bool:
        """Halve the scale after a step that was not; False below 1, where it is the model that overflows."""
        self.value, self.good_steps = self.value / 2, 0
        return self.value >= 1

    def state_dict(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {"value": np.array(self.value), "good_steps": np.array(self.good_steps)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a ``state_dict``.

        Raises:
            CheckpointError: "LossScale: the state lacks value and good_steps; was it saved in another precision?", or
                values that no loss scale has.
        """
        if missing := {"value", "good_steps"} - set(state):
            raise CheckpointError(f"LossScale: the state lacks {' and '.join(sorted(missing))}; "
                                  "was it saved in another precision?")
        value, good_steps = state["value"], state["good_steps"]
        if np.shape(value) or np.shape(good_steps) or not (0 < value < np.inf and 0 <= good_steps < GROWTH):
            raise CheckpointError(f"LossScale: the state's value is {value!r:.40} and good_steps {good_steps!r:.40}, "
                                  f"expected a positive number and fewer than {GROWTH}; use another state")
        self.value, self.good_steps = float(value), int(good_steps)
