"""Options that name files, and the rule that no output replaces what a command reads, a run or a model."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinygrad_gpt.errors import UsageError

__all__ = ["FOLDER_FILES", "INPUTS", "OUTPUT_FILES", "OUTPUT_FOLDERS", "refuse_overwriting"]

# Parameters of commands by what their values are; tests/cli/test_paths.py fails on one that is in no table.
INPUTS = ("data", "validation", "test", "file", "base", "model", "models", "vocabulary", "source", "first", "second",
          "unlabelled", "teachers", "extra", "family_text", "gradients", "personal")
SPELLED = {"source": "--from", "family_text": "--family-text", "models": "MODEL", "first": "A", "second": "B"}
OUTPUT_FILES = ("output", "save", "html", "marks", "solutions")
OUTPUT_FOLDERS = ("out", "folder", "exercises")

FOLDER_FILES = frozenset({  # all names that commands write into their folders
    "config.json", "model.h5", "state-a.h5", "state-b.h5", "log.jsonl", "samples.txt", "report.json", "run.json",
    "curves.png", "confusion.png", "vocabulary.json", "tokens.npy", "validation.npy", "report.md", "report.html",
    "budget.json", "teachers.npy", "accuracy.png", "minutes.png", "model.safetensors", "vocab.json", "merges.txt",
    "vocab.txt", "tokenizer.json", "tokenizer_config.json", "download.json", ".lock",
})
TABLES = (".csv", ".tsv", ".jsonl")  # in the folder of a run or a model, existing files of these kinds are results


def refuse_overwriting(given: Mapping[str, Any]) -> None:
    """Refuse outputs that would replace an input of the same command, a file of a run, or a model.

    Files are compared as the system knows them, so that links, `..` and other spellings make no difference.

    Args:
        given: the values of a command's parameters by name.

    Raises:
        UsageError: `cannot write (a.tsv): it is the file of --file; name another`.
    """
    outputs = [Path(given[name]) for name in OUTPUT_FILES if given.get(name)]
    folders = [Path(given[name]) for name in OUTPUT_FOLDERS if given.get(name)]
    for folder in folders:
        if folder.is_file():
            raise UsageError(f"cannot write ({folder}): it is a file; name a folder")
    targets = outputs + [folder / name for folder in folders for name in _present(folder)]
    if not targets:
        return
    inputs = {identity: option for name in INPUTS for identity, option in _identities(name, given.get(name))}
    for target in targets:
        what = "file" if target in outputs else "folder"
        if why := _reason(target, inputs, is_folder_file=what == "folder"):
            raise UsageError(f"cannot write ({target}): {why}; name another {what}")


def _present(folder: Path) -> list[str]:
    """The files in a folder that a command would write there, whatever the case of their names."""
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(folder) if name.casefold() in FOLDER_FILES]
    return []


def _identities(name: str, value: Any) -> Iterator[tuple[tuple[int, int], str]]:
    """The files that an input names, each with the option; a folder stands for the files in it."""
    for item in value if isinstance(value, tuple) else (value,):
        if item in (None, ""):
            continue
        with contextlib.suppress(OSError, ValueError):  # not there, or no path: a name, an address
            if item == "-":
                found = [os.fstat(sys.stdin.fileno())] if sys.stdin else []
            else:
                path = Path(item)
                found = [each.stat() for each in (path.iterdir() if path.is_dir() else [path]) if each.is_file()]
            yield from (((stat.st_dev, stat.st_ino), SPELLED.get(name, f"--{name}")) for stat in found)


def _reason(target: Path, inputs: Mapping[tuple[int, int], str], *, is_folder_file: bool) -> str | None:
    """Why a file must not be written, or None."""
    real = Path(os.path.realpath(target))
    if real.is_file():
        stat = real.stat()
        if option := inputs.get((stat.st_dev, stat.st_ino)):
            return f"it is the file of {option}" if real == target.absolute() else f"it is a file of {option}"
    if is_folder_file and not target.is_symlink():
        return None  # the recipe itself refuses a folder that has a run or a model
    if any((real.parent / name).exists() for name in ("config.json", "model.h5", "checkpoint")) and (
            real.name.casefold() in FOLDER_FILES or (real.exists() and real.suffix.lower() not in TABLES)):
        return "it is a file of the run or the model in that folder"
    return "it holds a model or an archive" if _is_archive(real) else None


def _is_archive(path: Path) -> bool:
    """Whether a file has the first bytes of weights or of compressed data, which no output has."""
    from tinygrad_gpt.checkpoints.hdf5_guard import FOREIGN, HDF5_SIGNATURE

    if not path.is_file():
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(16)
        return start.startswith((HDF5_SIGNATURE, *(prefix for prefix, *_ in FOREIGN))) or (
            start[5:9] == b"\0\0\0{")  # safetensors
    return False
