"""A repository for a class: the exercises, a syllabus with the points, and the steps with which CI grades them.

    NN_name.py README.md course.json    what `course start` writes
    SYLLABUS.md                         weeks, exercises and points
    requirements.txt                    the package that grades
    .github/workflows/classroom.yml     GitHub Classroom: a step with its points for each exercise

Source: https://docs.github.com/education/manage-coursework-with-github-classroom/teach-with-github-classroom/use-autograding
"""

import zipfile
from io import BytesIO
from pathlib import Path

from tinygrad_gpt import __version__
from tinygrad_gpt.course.exercises import EXERCISES, WEEKS
from tinygrad_gpt.course.folder import start, write_new
from tinygrad_gpt.course.solutions import solution
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import write_atomic

__all__ = ["PACKAGE", "publish", "write_solutions"]

PACKAGE = f"tinygrad-gpt=={__version__}"
MINUTES = 2  # that an exercise may take, start of the package included
WORKFLOW = """\
name: Autograding Tests
on: [push, repository_dispatch]
permissions:
  checks: write
  actions: read
  contents: read
jobs:
  run-autograding-tests:
    runs-on: ubuntu-latest
    if: github.actor != 'github-classroom[bot]'
    steps:
    - uses: actions/checkout@v4
    - uses: actions/setup-python@v5
      with:
        python-version: "3.11"
    - run: python -m pip install -r requirements.txt
{steps}
    - name: Points
      uses: classroom-resources/autograding-grading-reporter@v1
      env:
{results}
      with:
        runners: {runners}
"""
STEP = """\
    - name: {name}
      id: {name}
      uses: classroom-resources/autograding-command-grader@v1
      with:
        test-name: {name}
        command: python -m tinygrad_gpt course check {name}
        timeout: {minutes}
        max-score: {points}"""
SYLLABUS = """\
# Syllabus

{count} exercises, {points} points: all of an exercise's points are given, or none. Not every week has one.

| week | exercise | points | what there is to learn |
|---:|---|---:|---|
{rows}

`python -m tinygrad_gpt course check NAME` grades one exercise, with exit code 0 for all points: in any CI a step of its
own. `course check --marks marks.xml` grades all and writes JUnit's XML; `.json` and `.csv` have the points.
"""


def publish(path: Path, package: str = PACKAGE) -> list[str]:
    """Write the repository, or add to one what this version of the course has more; nothing is overwritten.

    Args:
        path: the folder.
        package: what pip installs to grade: a version, a file or an address.

    Returns:
        The names of the files that were written.

    Raises:
        UsageError, DataError: as `folder.start`.
    """
    steps = "\n".join(STEP.format(name=each.name, points=each.points, minutes=MINUTES) for each in EXERCISES)
    results = "\n".join(f'        {each.name.upper()}_RESULTS: "${{{{steps.{each.name}.outputs.result}}}}"'
                        for each in EXERCISES)
    rows = "\n".join(f"| {WEEKS[each.name]} | `{each.name}` | {each.points} | {each.task} |"
                     for each in sorted(EXERCISES, key=lambda each: WEEKS[each.name]))
    texts = {
        "SYLLABUS.md": SYLLABUS.format(count=len(EXERCISES), points=sum(each.points for each in EXERCISES), rows=rows),
        "requirements.txt": f"{package}\n",
        ".github/workflows/classroom.yml": WORKFLOW.format(
            steps=steps, results=results, runners=",".join(each.name for each in EXERCISES)),
    }
    written = start(path)
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        written += write_new(path / name, text)
    return written


def write_solutions(path: Path, outside: Path) -> None:
    """Write all solutions into a zip archive.

    Args:
        path: of the archive.
        outside: the folder that the students get, in which it must not be.

    Raises:
        UsageError: "--solutions (class/s.zip): students would get it; name a file outside class".
        ResourceError, TinygradError: as in `files.write_atomic`.
    """
    if path.resolve().is_relative_to(outside.resolve()):
        raise UsageError(f"--solutions ({path}): students would get it; name a file outside {outside}")
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for each in EXERCISES:
            file.writestr(zipfile.ZipInfo(each.file), solution(each))
    write_atomic(path, archive.getvalue())
