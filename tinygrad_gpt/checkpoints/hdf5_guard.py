"""Opening files that others wrote: what they are by their first bytes, and every failure as one line.

Each function raises `CheckpointError` with a reason only; `explained` puts the name of the file in front.
"""

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tinygrad_gpt.errors import CheckpointError

__all__ = ["HDF5_SIGNATURE", "data_set", "explained", "first_bytes", "opened_hdf5", "parse_json", "refuse_foreign"]

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
FOREIGN = (  # first bytes, what it is, what to do
    (b"PK\x03\x04", "a zip archive, as PyTorch and NumPy write it (.pt, .npz)", "save the weights as .safetensors"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "in PyTorch's format from before version 1.6",
     "load it with torch.load and save it again"),
    (b"\x80", "a Python pickle, which could run any code", "save the weights as .safetensors"),
    (b"\x93NUMPY", "a NumPy array", "give a checkpoint"),
    (b"GGUF", "a GGUF model", "give a checkpoint"),
    (b"\x1f\x8b", "a gzip archive", "decompress it first"),
    (b"\xfd7zXZ", "an xz archive", "decompress it first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
)


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into one line that names the file.

    Raises:
        CheckpointError: `cannot load (run/model.h5): no such file; check the path`.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"cannot load ({path}): {error}") from None
    except (MemoryError, ImportError):  # no memory for a library
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"cannot load ({path}): no such file; check the path") from error
    except PermissionError as error:
        raise CheckpointError(f"cannot load ({path}): permission denied; check who may read it") from error
    except Exception as error:  # h5py raises half a dozen types on damaged files
        reason = " ".join(str(error)[:200].split())
        raise CheckpointError(f"cannot load ({path}): the file is damaged ({reason}); use another copy") from error


def first_bytes(path: Path) -> bytes:
    """Up to 64 bytes, which tell what a file is; the extension proves nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError("it is not a regular file; give a checkpoint file")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise CheckpointError("the file is empty; use another copy")
    return start


def refuse_foreign(start: bytes, otherwise: str) -> NoReturn:
    """Name the kind of file; `otherwise` is the message for an unknown kind."""
    for prefix, what, remedy in FOREIGN:
        if start.startswith(prefix):
            raise CheckpointError(f"it is {what}; {remedy}")
    raise CheckpointError(otherwise)


@contextmanager
def opened_hdf5(path: Path) -> Iterator[tuple[Any, int]]:
    """The open HDF5 file and its size in bytes."""
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        yield file, path.stat().st_size


def data_set(group: Any, name: str) -> Any:
    """A data set whose bytes lie in this file in one piece: no link, no external or virtual storage, no filter."""
    import h5py

    if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise CheckpointError(f"{name!r:.80} is a link to elsewhere; use another copy")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset):
        raise CheckpointError(f"{name!r:.80} is not a data set; use another copy")
    storage = dataset.id.get_create_plist()
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or storage.get_external_count():
        raise CheckpointError(f"{name!r:.80} is stored in pieces, filtered, or outside the file; use another copy")
    return dataset


def parse_json(text: bytes) -> Any:
    """JSON in UTF-8, no name twice in one object."""
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise CheckpointError(f"its JSON has {name[:80]!r} twice; use another copy")
            found[name] = value
        return found

    try:
        return json.loads(text.decode(), object_pairs_hook=unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError):
        raise CheckpointError("its JSON cannot be read; use another copy") from None
