"""Marks in a file: JSON, CSV, or JUnit's XML, which the pages of most CI systems show."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from tinygrad_gpt.course.grade import Grade
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import write_atomic

__all__ = ["KINDS", "check_kind", "write_class_marks", "write_marks"]


def write_marks(path: Path, student: str, grades: Sequence[Grade]) -> None:
    """Write the marks of a student.

    Args:
        path: its suffix says how, one of `KINDS`.
        student: whose they are, "" if nobody is named.
        grades: of the exercises.

    Raises:
        UsageError: as `check_kind`.
        ResourceError, TinygradError: as in `files.write_atomic`.
    """
    check_kind(path)
    write_atomic(path, KINDS[path.suffix]({student: grades}, False).encode())


def write_class_marks(path: Path, marks: Mapping[str, Sequence[Grade]]) -> None:
    """Write the marks of a class into one file.

    Args:
        path: as in `write_marks`.
        marks: the grades by student; in CSV each row names the student, in JSON and XML each has an object or a suite.

    Raises:
        UsageError, ResourceError, TinygradError: as in `write_marks`.
    """
    check_kind(path)
    write_atomic(path, KINDS[path.suffix](marks, True).encode())


def check_kind(path: Path) -> None:
    """Refuse a name that does not say how to write.

    Raises:
        UsageError: "--marks (marks.txt): its suffix does not say how to write; use .json, .csv or .xml".
    """
    if path.suffix not in KINDS:
        raise UsageError(f"--marks ({path}): its suffix does not say how to write; use .json, .csv or .xml")


def _json(marks: Mapping[str, Sequence[Grade]], of_class: bool) -> str:
    """An object; of a class a list of them."""
    found = [{"student": student, "points": sum(grade.points for grade in grades),
              "most": sum(grade.most for grade in grades),
              "exercises": [{**asdict(grade), "passed": grade.passed} for grade in grades]}
             for student, grades in marks.items()]
    return json.dumps(found if of_class else found[0], indent=1, ensure_ascii=False) + "\n"


def _csv(marks: Mapping[str, Sequence[Grade]], of_class: bool) -> str:
    """One row for each exercise of each student; what is said goes into one cell."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", "exercise", "points", "most", "said"])
    rows.writerows([student, grade.name, grade.points, grade.most, "; ".join(grade.said)]
                   for student, grades in marks.items() for grade in grades)
    return text.getvalue()


def _junit(marks: Mapping[str, Sequence[Grade]], of_class: bool) -> str:
    """A suite; of a class one for each student.

    Source: https://github.com/testmoapp/junitxml.
    """
    suites = [_suite(student, grades) for student, grades in marks.items()]
    root = suites[0]
    if of_class:
        root = ElementTree.Element("testsuites", name="course")
        root.extend(suites)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(student: str, grades: Sequence[Grade]) -> ElementTree.Element:
    """A test case for each exercise; one without all points failed."""
    failed = sum(not grade.passed for grade in grades)
    suite = ElementTree.Element("testsuite", name=student or "course", tests=str(len(grades)), failures=str(failed),
                                time=f"{sum(grade.seconds for grade in grades):.3f}")
    for grade in grades:
        case = ElementTree.SubElement(suite, "testcase", name=grade.name, classname="course",
                                      time=f"{grade.seconds:.3f}")
        if not grade.passed:
            failure = ElementTree.SubElement(case, "failure", message=f"{grade.points} of {grade.most} points")
            failure.text = _legal("\n".join(grade.said))
        if grade.printed:
            ElementTree.SubElement(case, "system-out").text = _legal(grade.printed)
    return suite


def _legal(text: str) -> str:
    """The text without the control characters that XML cannot hold."""
    return "".join(character for character in text if character >= " " or character in "\t\n")


KINDS = {".json": _json, ".csv": _csv, ".xml": _junit}
