"""Adding at indices that repeat, on a GPU, in one order."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ordered_index_add"]

SOURCE = Path(__file__).parents[1] / "ops" / "cuda" / "index_add.cu"
SCALARS = {"float32": "float", "float64": "double"}  # others are exact in any order, or widened before
THREADS = 256  # of a block


def ordered_index_add(xp: Any, launch: Callable[..., None]) -> Callable[[Any, Any, Any], None]:
    """A function like ``add.at``, which adds what comes to one element always in the same order.

    CuPy's own adds as the threads happen to come, so that the last digits of a sum differ from run to run.

    Args:
        xp: the array package.
        launch: see `Backend.launch`.
    """
    def index_add(target, index, values):
        if target.dtype.name not in SCALARS:
            return xp.add.at(target, index, values)
        if not target.flags.c_contiguous:
            total = xp.ascontiguousarray(target)
            index_add(total, index, values)
            target[...] = total
            return None
        parts = index if isinstance(index, tuple) else (index,)
        picks = all(isinstance(part, xp.ndarray) and part.dtype.kind in "iu" for part in parts)
        axes = len(parts) if picks else target.ndim  # that the index selects from; the numbers behind stay together
        shape, row = target.shape[:axes], target.shape[axes:]
        places = xp.arange(math.prod(shape), dtype=np.int64).reshape(shape)[index]
        values = xp.ascontiguousarray(xp.broadcast_to(values, (*places.shape, *row)))
        if not values.size:
            return None
        places = places.ravel()
        order = xp.argsort(places)  # stable
        launch(SOURCE, f"index_add<{SCALARS[target.dtype.name]}>", (-(-values.size // THREADS),), (THREADS,),
               (values, places[order], order, target, math.prod(row), places.size))
        return None

    return index_add
