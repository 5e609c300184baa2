"""What the README shows is what happens: its Python examples, its commands, its options."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import click
import pytest

from tinygrad_gpt.cli import group, main

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```(?:\n\n```text\n(.*?)^```)?$", README, flags=re.DOTALL | re.MULTILINE)
EXAMPLES = [(code, printed) for language, code, printed in BLOCKS if language == "python"]
COMMANDS = [(line, printed) for language, line, printed in BLOCKS if not language and "cli.py" in line]
USE_IT = README.split("\n## Use it\n")[1].split("\nAs a library")[0]
WRITES_NOTHING = ["classify", "generate", "derivatives", "tape"]  # and takes no file


def arguments(line):
    """What follows `cli.py`, with the first of several alternatives `a|b`."""
    return [word.split("|")[0] for word in shlex.split(line.split("cli.py")[-1])]


def rows():
    """For each row of "Use it", its pieces of code."""
    return [re.findall(r"`([^`]+)`", line.replace("\\|", "|")) for line in USE_IT.split("\n") if line.startswith("| ")]


def is_command(code):
    return arguments(code)[0] in group.list_commands(None)


def command_of(line):
    """The command of a line, whose options and arguments click accepts; nothing is run."""
    command, rest = group, arguments(line)
    while isinstance(command, click.Group):
        command = command.get_command(None, rest.pop(0) if rest and rest[0] in command.table else command.default)
    with contextlib.suppress(click.MissingParameter):  # the table also shows a command's further options alone
        command.make_context(command.name, rest)
    return command


@pytest.mark.parametrize(("code", "printed"), EXAMPLES)
def test_a_python_example_prints_what_the_readme_says(code, printed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert out.getvalue() == printed


def test_every_python_example_has_its_output():
    assert len(EXAMPLES) == README.count("```python") > 0


@pytest.mark.parametrize(("line", "printed"), COMMANDS)
def test_a_command_prints_what_the_readme_says(line, printed, capsys):
    assert main(arguments(line)) == 0
    out = capsys.readouterr().out
    assert out == printed if printed else arguments(line)[-1] in out


def test_the_commands_are_those_of_the_first_screen():
    assert [arguments(line)[0] for line, _ in COMMANDS] == ["classify", "generate"]


@pytest.mark.parametrize("code", [code for row in rows() for code in row if is_command(code)])
def test_every_command_of_the_table_is_accepted(code):
    assert command_of(code).name


def test_an_unknown_option_is_not_accepted():
    with pytest.raises(click.NoSuchOption):
        command_of("python cli.py classify --colour red")


@pytest.mark.parametrize("code", [
    code for row in rows() for code in row
    if code.startswith("python") and arguments(code)[0] in WRITES_NOTHING and "--file" not in code])
def test_what_needs_no_file_runs(code, capsys):
    assert main(arguments(code)) == 0
    assert capsys.readouterr().out


def test_every_option_of_the_table_belongs_to_a_command_of_its_row():
    for row in rows():
        commands = [command_of(code) for code in row if is_command(code)]
        known = {name for command in commands for parameter in command.params for name in [*parameter.opts, "--help"]}
        named = {word for code in row for word in re.findall(r"^--[a-z-]+", code)}
        assert named <= known, f"no command of the row {row} has {named - known}"


def test_there_are_at_most_eight_headline_figures():
    section = README.split("\n## What you get\n")[1].split("\n## ")[0]
    table_rows = [line for line in section.split("\n") if line.startswith("|")]
    headings = 2 * sum(line.startswith("|---") for line in table_rows)
    assert 0 < len(table_rows) - headings <= 8


def test_the_figures_of_the_gradient_check_are_those_of_the_command(capsys):
    assert main(["gradcheck"]) == 0
    printed = capsys.readouterr().out
    measured = re.search(r"^(\d+) ops in (\d+) forms.* worst relative error (\S+) ", printed, re.MULTILINE)
    claimed = re.search(r"all (\d+) ops, in each of their (\d+) forms.* worst relative error (\S+) ", README)
    assert measured.groups()[:2] == claimed.groups()[:2]
    assert float(measured[3]) <= 2 * float(claimed[3])  # its last digits are those of the machine's sums
