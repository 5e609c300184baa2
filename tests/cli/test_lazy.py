"""A group imports a command when it is run, and no earlier."""

import sys

import click
import pytest

from tinygrad_gpt.cli.lazy import LazyGroup

MODULE = "a_command_to_be_imported"
TABLE = {"greet": (MODULE, "Greet somebody."), "leave": ("no_such_module", "Say goodbye.")}


@pytest.fixture
def greet(tmp_path, monkeypatch):
    """Put a module with the command `greet` on the path."""
    (tmp_path / f"{MODULE}.py").write_text(
        "import click\n\n@click.command()\n@click.argument('name')\ndef command(name):\n    print('hello', name)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(MODULE, None)


def run(*args, default=None):
    return LazyGroup("group", table=TABLE, default=default).main(list(args), "program", standalone_mode=False)


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_lists_the_table_and_imports_nothing(args, greet, capsys):
    run(*args)
    out = capsys.readouterr().out
    assert "Greet somebody." in out
    assert "Say goodbye." in out
    assert MODULE not in sys.modules


def test_a_command_is_imported_and_run(greet, capsys):
    run("greet", "Ada")
    assert capsys.readouterr().out == "hello Ada\n"
    assert MODULE in sys.modules


def test_the_default_is_meant_where_no_command_is_named(greet, capsys):
    run("Ada", default="greet")
    run("greet", "Bo", default="greet")
    assert capsys.readouterr().out == "hello Ada\nhello Bo\n"
    run("--help", default="greet")
    assert "Say goodbye." in capsys.readouterr().out


def test_a_name_outside_the_table_is_refused():
    with pytest.raises(click.UsageError, match="No such command 'greets'"):
        run("greets")
