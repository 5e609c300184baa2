"""How tensors are printed, with the arguments of PyTorch."""

from typing import Any

import numpy as np

__all__ = ["set_printoptions"]


def set_printoptions(precision: int | None = None, threshold: int | None = None, edgeitems: int | None = None,
                     linewidth: int | None = None, sci_mode: bool | None = None) -> None:
    """Choose how tensors, and NumPy's arrays with them, are printed; what is None stays as it is.

    Args:
        precision: digits behind the point.
        threshold: number of values from which only the first and last of each axis are shown.
        edgeitems: how many are shown then.
        linewidth: characters in a line.
        sci_mode: False: no exponents.

    Source: torch.set_printoptions.
    """
    options: dict[str, Any] = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
                               "linewidth": linewidth, "suppress": None if sci_mode is None else not sci_mode}
    np.set_printoptions(**{name: value for name, value in options.items() if value is not None})
