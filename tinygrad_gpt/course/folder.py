"""A student's folder: one file for each exercise, and course.json, which says what it was made from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinygrad_gpt.course.blanks import blank_text
from tinygrad_gpt.course.exercises import EXERCISES, VERSION, Exercise
from tinygrad_gpt.course.personal import personal_text
from tinygrad_gpt.course.sandbox import SECONDS
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.files import write_atomic

__all__ = ["Folder", "opened", "opened_class", "start", "start_class", "write_new"]

ABOUT = "course.json"
README = """\
# Every gradient of GPT-2

{count} exercises, {points} points. In each file a function of GPT-2 has its forward pass, and you write the gradients;
the last three are layers, which you build of ops.

- `tinygrad-gpt course check` in this folder grades all, `tinygrad-gpt course check gelu` one, without a network.
- `tinygrad-gpt course watch .` grades a file each time you save it. `python -m tinygrad_gpt` does for `tinygrad-gpt`.
- Your code runs in a process of its own: {seconds} seconds, 1 GiB of memory, no files but those here, no tinygrad_gpt.
- The gradient of each argument is compared with differences of the forward pass, however you write it.

When all is done, your gradients train a GPT-2: `tinygrad-gpt pretrain --gradients . --data book.txt --out run`.
"""


@dataclass(frozen=True)
class Folder:
    """A student's folder.

    Args:
        path: of the folder.
        student: whose it is, "" if nobody was named.
        personal: whether its exercises are those of this student alone.
    """

    path: Path
    student: str
    personal: bool = False

    def file(self, each: Exercise) -> Path:
        """The student's file of an exercise."""
        return self.path / each.file

    def blank(self, each: Exercise) -> str:
        """The text that the student started with."""
        text = blank_text(each)
        return personal_text(each, text, self.student) if self.personal else text

    def digests(self) -> dict[str, str]:
        """A digest of each of these texts, by the exercise's name."""
        return {each.name: hashlib.blake2b(self.blank(each).encode(), digest_size=8).hexdigest() for each in EXERCISES}


def start(path: Path, student: str | None = None, *, personal: bool = False) -> list[str]:
    """Write a folder, or add to one what this version of the course has more; what is there is never overwritten.

    Returns:
        The names of the files that were written. An exercise whose text has changed is written beside the student's
        file, as NAME.new.py.

    Raises:
        UsageError: the folder is that of another student, or holds folders of students, or its exercises are those
            of all students.
        DataError: course.json cannot be read.
    """
    if not (path / ABOUT).exists() and (students := _students(path)):
        raise UsageError(f"folder of a class ({path}): it holds the folder {students[0].name} of a student; name "
                         "another folder, or add students with --personal")
    path.mkdir(parents=True, exist_ok=True)
    known = _read(path) if (path / ABOUT).exists() else {}
    if known and student is not None and known["student"] != student:
        raise UsageError(f"--student ({student}): {path} is the folder of {known['student'] or 'no named student'}; "
                         "name another folder")
    folder = Folder(path, str(known.get("student", student or "")), bool(known.get("personal", personal)))
    if personal and not folder.personal:
        raise UsageError(f"--personal ({path}): its exercises are those of all students; name another folder")
    digests, written = folder.digests(), []
    for each in EXERCISES:
        if known.get("texts", {}).get(each.name) != digests[each.name] or not folder.file(each).exists():
            written += write_new(folder.file(each), folder.blank(each))
    points = sum(each.points for each in EXERCISES)
    written += write_new(path / "README.md", README.format(count=len(EXERCISES), points=points, seconds=SECONDS),
                        beside=not known)
    about = {"version": VERSION, "student": folder.student, "personal": folder.personal, "texts": digests}
    write_atomic(path / ABOUT, (json.dumps(about, indent=1) + "\n").encode())
    return written


def start_class(path: Path, students: Sequence[str]) -> None:
    """Write a folder in ``path`` for each student, with exercises that differ by student.

    Raises:
        UsageError: ``path`` is the folder of one student; one of the folders is that of another student.
        DataError: as in `start`.
    """
    if (path / ABOUT).exists():
        raise UsageError(f"--personal ({path}): it is the folder of one student, not of a class; name another folder")
    for student in students:
        start(path / student, student, personal=True)


def write_new(path: Path, text: str, beside: bool = True) -> list[str]:
    """Write a file that is not there yet; beside one of other text, if that is wanted, under another name.

    Returns:
        The name that was written, or nothing.
    """
    names = (path.with_suffix(f".new{number}{path.suffix}") for number in ("", *range(2, 1000)))
    target = path
    while target.exists():
        if not beside or target.read_bytes() == text.encode():
            return []
        target = next(names)
    write_atomic(target, text.encode())
    return [target.name]


def opened(path: Path) -> Folder:
    """A folder that this version of the course can grade.

    Raises:
        UsageError: it is no folder of the course, or that of a class, or one of another version.
        DataError: course.json cannot be read.
    """
    if not (path / ABOUT).is_file():
        if students := _students(path):
            raise UsageError(f"folder of a class ({path}): it holds a folder for each student; give one of them, "
                             f"such as {students[0]}")
        raise UsageError(f"no course ({path}): there is no {ABOUT}; `course start {path}` makes one")
    about = _read(path)
    folder = Folder(path, about["student"], bool(about.get("personal", False)))
    if about["version"] != VERSION or about["texts"] != folder.digests():
        raise UsageError(f"another version of the course ({path / ABOUT}): `course start {path}` adds what is new; "
                         "it leaves your files as they are")
    return folder


def opened_class(path: Path) -> list[Folder]:
    """The folders of students in a folder, by name; none if it is that of one student, or holds none.

    Raises:
        UsageError: two are of the same student; one is of another version.
        DataError: a course.json cannot be read.
    """
    folders: dict[str, Folder] = {}
    for each in [] if (path / ABOUT).exists() else _students(path):
        folder = opened(each)
        folder = replace(folder, student=folder.student or each.name)
        if folder.student in folders:
            raise UsageError(f"two folders of {folder.student} ({folders[folder.student].path} and {each}): the marks "
                             "would be of both; move one of them away")
        folders[folder.student] = folder
    return list(folders.values())


def _students(path: Path) -> list[Path]:
    """The folders in a folder that are folders of the course."""
    return sorted(about.parent for about in path.glob(f"*/{ABOUT}"))


def _read(path: Path) -> dict:
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        if isinstance(about["version"], int) and isinstance(about["student"], str) and isinstance(about["texts"], dict):
            return about
        why = "its fields are not those of a course"
    except (ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}"
    raise DataError(f"cannot read ({path / ABOUT}): {why}; start in a new folder and copy your exercises into it")
