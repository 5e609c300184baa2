"""Marks in files that other programs read."""

import csv
import json
from xml.etree import ElementTree

import pytest

from tinygrad_gpt.course.grade import Grade
from tinygrad_gpt.course.marks import write_class_marks, write_marks
from tinygrad_gpt.errors import UsageError

GRADES = [Grade("mul", 5, 5, (), "hello\x00 & <b>\n", 0.25),
          Grade("gelu", 0, 10, ("2 times the right one, everywhere", "at [0, 1]: 3 < 4"), "", 0.5)]


def test_json(tmp_path):
    write_marks(tmp_path / "m.json", "ada", GRADES)
    marks = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert (marks["student"], marks["points"], marks["most"]) == ("ada", 5, 15)
    assert [each["passed"] for each in marks["exercises"]] == [True, False]
    assert marks["exercises"][1]["said"] == list(GRADES[1].said)


def test_csv(tmp_path):
    write_marks(tmp_path / "m.csv", "ada, b", GRADES)
    with open(tmp_path / "m.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["student"], row["exercise"], row["points"], row["most"]) for row in rows] == [
        ("ada, b", "mul", "5", "5"), ("ada, b", "gelu", "0", "10")]
    assert rows[1]["said"] == "2 times the right one, everywhere; at [0, 1]: 3 < 4"


def test_junit(tmp_path):
    write_marks(tmp_path / "m.xml", "", GRADES)
    suite = ElementTree.parse(tmp_path / "m.xml").getroot()
    assert suite.attrib == {"name": "course", "tests": "2", "failures": "1", "time": "0.750"}
    right, wrong = suite
    assert right.find("failure") is None
    assert right.find("system-out").text == "hello & <b>\n"
    assert wrong.find("failure").get("message") == "0 of 10 points"
    assert wrong.find("failure").text == "2 times the right one, everywhere\nat [0, 1]: 3 < 4"


def test_a_class_in_one_file(tmp_path):
    marks = {"ada": GRADES, "bo": GRADES[:1]}
    for suffix in ("json", "csv", "xml"):
        write_class_marks(tmp_path / f"m.{suffix}", marks)
    assert [(each["student"], each["points"]) for each in json.loads((tmp_path / "m.json").read_text())] == [
        ("ada", 5), ("bo", 5)]
    with open(tmp_path / "m.csv", encoding="utf-8", newline="") as file:
        assert [(row["student"], row["exercise"]) for row in csv.DictReader(file)] == [
            ("ada", "mul"), ("ada", "gelu"), ("bo", "mul")]
    root = ElementTree.parse(tmp_path / "m.xml").getroot()
    assert root.tag == "testsuites"
    assert [(suite.get("name"), suite.get("failures")) for suite in root] == [("ada", "1"), ("bo", "0")]


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"its suffix does not say how to write; use \.json, \.csv or \.xml"):
        write_marks(tmp_path / "m.txt", "ada", GRADES)
    assert not list(tmp_path.iterdir())
