"""A recorded step in a file, to be compared with another run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.study.compare import Record

__all__ = ["load_trace", "save_trace"]

KIND = "trace"
REMEDY = "save it again with `tape --save`"


def save_trace(path: str | Path, records: Sequence[Record]) -> None:
    """Write the records of a step as a native checkpoint (HDF5, with a digest of each array).

    Raises:
        CheckpointError, ResourceError, TinygradError: as `native.save`.
    """
    arrays: dict[str, np.ndarray] = {}
    steps = []
    for number, record in enumerate(records):
        arrays[f"{number}.value"] = record.value
        if record.grad is not None:
            arrays[f"{number}.grad"] = record.grad
        arrays |= {f"{number}.part.{name}": part for name, part in record.parts.items()}
        steps.append({"label": record.label, "module": record.module, "inputs": list(record.inputs),
                      "parts": list(record.parts)})
    native.save(path, arrays, {"kind": KIND, "made_by": __version__, "steps": steps})


def load_trace(path: str | Path) -> list[Record]:
    """Read what `save_trace` wrote.

    Raises:
        CheckpointError: "cannot load (step.h5): it holds a model, not a saved tape; …"; damaged or foreign files.
    """
    saved = native.load(path)
    if saved.metadata.get("kind") != KIND:
        raise CheckpointError(f"cannot load ({path}): it holds a model, not a saved tape; {REMEDY}")
    if saved.metadata.get("made_by") != __version__:
        raise CheckpointError(f"cannot load ({path}): it was saved by version {saved.metadata.get('made_by')!r}, and "
                              f"this is {__version__}; {REMEDY}")
    try:
        return [_record(number, step, saved.tensors) for number, step in enumerate(saved.metadata["steps"])]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"cannot load ({path}): its steps do not fit its arrays ({error}); {REMEDY}") from error


def _record(number: int, step: dict, arrays: dict[str, np.ndarray]) -> Record:
    inputs = tuple(step["inputs"])
    if not all(isinstance(i, int) and 0 <= i < number for i in inputs):
        raise ValueError(f"step {number} is made from steps {inputs}")
    parts = {name: arrays[f"{number}.part.{name}"] for name in step["parts"]}
    return Record(str(step["label"]), str(step["module"]), inputs, arrays[f"{number}.value"],
                  arrays.get(f"{number}.grad"), parts)
