"""Every lesson runs as plain Python, prints what it quotes, and states no other numbers."""

import os
import re
import subprocess
import sys

import pytest
from lessons import COURSE, LESSONS, cells, decimals, quoted

from tinygrad_gpt.course.exercises import EXERCISES

README = (COURSE / "README.md").read_text(encoding="utf-8")
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

WITH_THE_VERDICT = [path for path in LESSONS if "THE_VERDICT" in path.read_text(encoding="utf-8")]
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def run(path, **variables):
    """What a lesson prints when it is run as plain Python."""
    environment = {name: value for name, value in os.environ.items() if name != "THE_VERDICT"}
    ran = subprocess.run([sys.executable, "-W", "error", str(path)], env=environment | ONE_THREAD | variables,
                         cwd=COURSE.parent, capture_output=True, encoding="utf-8", check=False)
    assert (ran.stderr, ran.returncode) == ("", 0)
    return ran.stdout


@each_lesson
def test_a_lesson_prints_what_it_quotes(path):
    assert run(path).rstrip() == quoted(path.read_text(encoding="utf-8")).rstrip() != ""


@pytest.mark.parametrize("path", WITH_THE_VERDICT, ids=lambda path: path.stem)
def test_a_lesson_prints_with_the_text_of_the_book_what_it_says(path, shared_data):
    """The text says in backticks what each line will be."""
    source = path.read_text(encoding="utf-8")
    text = " ".join(words for kind, cell in cells(source) if kind == "markdown" for words in cell.split())
    with_it = run(path, THE_VERDICT=str(shared_data / "text" / "the-verdict.txt")).splitlines()
    added = [" ".join(line.split()) for line in with_it if line not in quoted(source).splitlines()]
    assert added
    assert [line for line in added if f"`{line}`" not in text] == []


@each_lesson
def test_a_lesson_states_no_number_that_is_not_in_its_code(path):
    parts = cells(path.read_text(encoding="utf-8"))
    code = "\n".join(text for kind, text in parts if kind == "code")
    stated = decimals("".join(text for kind, text in parts if kind == "markdown").partition("## Try it")[0])
    assert sorted(number for number in stated if number not in code) == []


@each_lesson
def test_a_lesson_is_short_and_begins_with_its_title(path):
    source = path.read_text(encoding="utf-8")
    (kind, first), *_ = cells(source)
    assert kind == "markdown"
    assert re.match(r"# \S", first)
    assert source.startswith("# %% [markdown]\n")
    assert len(source.splitlines()) <= 200


def test_the_readme_lists_every_lesson():
    assert sorted(re.findall(r"\]\((\d\d_\w+\.py)\)", README)) == [path.name for path in LESSONS]


def rows(start):
    """The cells of the rows of the README's tables that begin so."""
    return [row.strip("| ").split(" | ") for row in re.findall(rf"^\| {start}.*$", README, re.MULTILINE)]


@pytest.mark.parametrize("column", [[row[3:] for row in rows(r"\[")], [row[2] for row in rows(r"\d")]],
                         ids=["lessons", "weeks"])
def test_the_readme_names_every_exercise(column):
    assert set(re.findall(r"`(\w+)`", str(column))) == {exercise.name for exercise in EXERCISES}


def test_the_weeks_hold_every_lesson_of_the_first_two_parts():
    named = re.findall(r"\d\d", " ".join(row[1] for row in rows(r"\d")))
    assert {path.name[:2] for path in LESSONS if path.name < "29"} <= set(named)


def test_what_is_quoted_and_what_is_stated():
    text, code = "# # A title, 1.5\n#\n# Section 2.2, `3.5`.\n\n", "print(1)\n\n# prints:\n#   1\n#\n#    2\n"
    source = f"# %% [markdown]\n{text}# %%\n{code}"
    assert cells(source)[0] == ("markdown", "# A title, 1.5\n\nSection 2.2, `3.5`.\n\n")
    assert quoted(source) == "1\n\n 2\n"
    assert decimals(cells(source)[0][1]) == {"1.5"}
