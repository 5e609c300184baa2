"""Option types, common options and printing."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext

import click
import pytest
from click.testing import CliRunner

from tinygrad_gpt import cli
from tinygrad_gpt.cli import run
from tinygrad_gpt.cli.options import (
    THREAD_VARIABLES,
    Duration,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    UnitInterval,
    common_options,
    echo,
    in_options,
    one_line,
    print_json,
    printable,
    settings_options,
)
from tinygrad_gpt.errors import BackendError


@pytest.mark.parametrize(("message", "shown"), [
    ("n_embd is 10, not a multiple of n_head = 4", "--n-embd is 10, not a multiple of --n-head = 4"),
    ("rows has '99'; give others", "--rows has '99'; give others"),
    ("the rows are wrong", "the rows are wrong"),
    ("text (n_head.csv, run/n_head): 'n_head' n_layer", "text (n_head.csv, run/n_head): 'n_head' n_layer"),
    ("beta_2 is 3", "--beta2 is 3")])
def test_a_message_has_the_options_of_the_command(message, shown):
    command = click.Command("c", params=[click.Option([name]) for name in ("--n-embd", "--n-head", "--rows")]
                            + [click.Option(["--beta2", "beta_2"]), click.Argument(["n_layer"])])
    assert in_options(message, command) == shown


NONSENSE = ["", " ", "nan", "NaN", "inf", "-inf", "infinity", "-1", "+1", "1_0", "0x10", "1,5", " 1", "1 ", "1\n",
            "\u0661", "\uff11", "\u00b2", "\u00bd", "1e", "--", "one", "9" * 5000, "1e999", "\ud800", "1\x00"]


@pytest.mark.parametrize("kind", [PositiveInt(), NonNegativeInt(), PositiveFloat(), UnitInterval()],
                         ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("text", NONSENSE, ids=lambda t: ascii(t[:12]))
def test_nonsense_is_refused(kind, text):
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert caught.value.message.endswith(f" is not {kind.wanted()}")
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(("kind", "good", "bad"), [
    (PositiveInt(maximum=64), {"1": 1, "064": 64}, ["0", "65", "1.0", "1e1"]),
    (NonNegativeInt(maximum=64), {"0": 0, "64": 64}, ["65", "-0"]),
    (PositiveFloat(maximum=10), {"1e-5": 1e-5, ".5": 0.5, "10": 10.0, "3.": 3.0}, ["0", "0.0", "1e-999", "10.001"]),
    (UnitInterval(), {"0": 0.0, "1": 1.0, "0.25": 0.25}, ["1.0001", "-0.1"]),
], ids=["positive int", "non-negative int", "positive float", "unit interval"])
def test_ranges(kind, good, bad):
    for text, number in good.items():
        value = kind.convert(text, None, None)
        assert (value, type(value)) == (number, type(number))
    for text in bad:
        with pytest.raises(click.BadParameter, match="is not a"):
            kind.convert(text, None, None)


def test_a_default_is_checked_like_a_typed_value():
    assert PositiveFloat().convert(5e-5, None, None) == 5e-5
    with pytest.raises(click.BadParameter):
        PositiveInt().convert(True, None, None)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_time_has_a_unit(text, seconds):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-1s", "10 m", "10d", "1e3", "m", "31e9h", "800h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="is not a time such as 90s, 10m or 2h"):
        Duration().convert(text, None, None)


def test_the_line_names_option_command_and_help(capsys):
    command = click.Command("train", params=[click.Option(["--epochs"], type=PositiveInt(100))])
    assert run(command, ["--epochs", "1_0"]) == 2
    assert capsys.readouterr().err == (
        "error: bad value for '--epochs' (tinygrad-gpt): '1_0' is not a whole number from 1 to 100; "
        "see 'tinygrad-gpt --help'\n")


@pytest.fixture
def program(monkeypatch):
    """A group and a command with the common options; `result` gets the settings the command saw."""
    monkeypatch.setattr("tinygrad_gpt.cli.options.Settings.applied", lambda self: nullcontext())

    @click.group()
    @settings_options
    def group():
        pass

    @group.command()
    @click.argument("text")
    @common_options
    @click.pass_obj
    def command(settings, text):
        click.echo(f"{text} {settings}")

    return group


@pytest.mark.parametrize(("args", "expected"), [
    (["command", "hi"], Settings()),
    (["command", "--backend", "cupy", "hi"], Settings(backend="cupy")),
    (["--backend", "cupy", "command", "hi"], Settings(backend="cupy")),
    (["--backend", "cupy", "command", "hi", "--backend", "numpy"], Settings()),
    (["--debug", "command", "hi", "--threads", "3"], Settings(threads=3, debug=True)),
])
def test_common_options_stand_before_or_after_the_command(program, args, expected):
    result = CliRunner().invoke(program, args)
    assert result.output == f"hi {expected}\n"


def test_threads_are_set_before_numpy_is_imported():
    code = ("import os, sys; from tinygrad_gpt.cli.options import Settings; Settings(threads=3).applied().__enter__();"
            f"print([os.environ[v] for v in {THREAD_VARIABLES}], 'numpy' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.stdout == "['3', '3', '3', '3'] False\n"


def test_the_backend_holds_while_the_command_runs(capsys):
    from tinygrad_gpt.backend import default_backend

    with Settings(backend="strict", ops="composed").applied():
        assert default_backend().name == "strict"
    with Settings(backend="numpy").applied():
        assert default_backend().name == "numpy"
    assert default_backend().name == "numpy"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("there", "line"), [
    ("strict", "computed on strict\n"),
    ("numpy", "computed on numpy; --backend cupy says what is missing for a GPU\n")])
def test_auto_says_what_it_took_unless_the_command_fails(there, line, monkeypatch, capsys):
    from tinygrad_gpt import backend

    taken = backend.get_backend(there)
    monkeypatch.setattr(backend.loading, "get_backend", lambda name: taken)
    with Settings(backend="auto").applied():
        assert backend.default_backend() is taken
    assert capsys.readouterr().err == line
    with pytest.raises(KeyError), Settings(backend="auto").applied():
        raise KeyError
    assert capsys.readouterr().err == ""


def all_commands(group):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield from all_commands(command) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("command", [*all_commands(cli.group)], ids=lambda command: command.name)
def test_every_command_runs_on_the_backend_that_is_asked_for(command, monkeypatch):
    def refuse(name):
        raise BackendError(f"{name} was asked for")

    monkeypatch.setattr("tinygrad_gpt.backend.loading.get_backend", refuse)
    choices = next(param for param in command.params if param.name == "backend").type.choices
    assert list(choices) == ["numpy", "cupy", "auto"]
    with click.Context(command, obj=Settings(backend="cupy")), pytest.raises(BackendError, match="cupy was asked for"):
        command.callback()  # before its body looks at any argument


def test_composed_holds_while_the_command_runs():
    from tinygrad_gpt.engine.mode import current_mode

    with Settings(ops="composed").applied():
        assert current_mode().ops == "composed"
    assert current_mode().ops != "composed"


def test_one_line_folds_and_escapes():
    assert one_line(" a\n  b\r\nc\td\x07 \u2028\x85\udcff caf\u00e9 ") == "a b c\\td\\x07 \\u2028\\x85\\udcff caf\u00e9"


def test_echo_keeps_layout_and_escapes_the_rest(capsys):
    echo("a\tb\n\x1b[2Jc")
    assert capsys.readouterr().out == "a\tb\n\\x1b[2Jc\n"


LETTERS = "你\u3000世 می\u200cخو 👨\u200d👩\u200d👧 10\xa0€ so\xadft ❤\ufe0f a\u200bb \u2003 🏴\U000e0067\U000e007f"
OBEYED = "\x1b[2J \x9b2J \u202e \u202a \u2066 \u2069 \u200f \u2028 \x7f"


def test_letters_are_printed_as_they_are_and_controls_escaped(capsys):
    assert printable(LETTERS) == LETTERS
    assert printable(OBEYED) == "\\x1b[2J \\x9b2J \\u202e \\u202a \\u2066 \\u2069 \\u200f \\u2028 \\x7f"
    echo(LETTERS)
    assert capsys.readouterr().out == LETTERS + "\n"


def test_json_escapes_what_a_terminal_would_obey(capsys):
    print_json([OBEYED, LETTERS])
    out = capsys.readouterr().out
    assert LETTERS in out
    assert printable(out, keep="\n") == out
    assert json.loads(out) == [OBEYED, LETTERS]


def test_json_is_one_line_and_strict(capsys):
    print_json({"a": "x\ny\ud800", "b": [1, 0.5]})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"a": "x\ny\ud800", "b": [1, 0.5]}
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json(float("nan"))
