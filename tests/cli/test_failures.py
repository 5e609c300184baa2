"""Warnings and signals that wait (exit codes and lines: test_main.py)."""

import os
import signal
import warnings

import click
import pytest

from tinygrad_gpt.cli import run
from tinygrad_gpt.cli.failures import Terminated, stops_wait
from tinygrad_gpt.errors import DataError


@pytest.fixture
def warning():
    """A command that warns twice in the same words and once in others, then fails if it is told to."""

    @click.command()
    @click.option("--fail", is_flag=True)
    def command(fail):
        warnings.simplefilter("always")
        for text in ("overflow\nencountered", "overflow\nencountered", "other"):
            warnings.warn(text, RuntimeWarning, stacklevel=1)
        if fail:
            raise DataError("bad data (a.csv): why; try")
        print("done")

    return command


def test_warnings_are_a_line_each_behind_the_result(warning, capsys):
    assert run(warning, []) == 0
    out, err = capsys.readouterr()
    assert out == "done\n"
    lines = err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == ["warning: overflow encountered", "warning: other"]


def test_a_failure_is_one_line_also_after_warnings(warning, capsys):
    assert run(warning, ["--fail"]) == 1
    assert capsys.readouterr().err == "error: bad data (a.csv): why; try\n"


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_waits_for_a_good_place_and_a_second_one_does_not(number, error):
    before = signal.getsignal(number)
    with pytest.raises(error, match="saved"), stops_wait("saved") as stop_here:  # noqa: PT012
        stop_here()
        os.kill(os.getpid(), number)  # nothing happens yet
        stop_here()
    assert signal.getsignal(number) is before
    with pytest.raises(error), stops_wait("saved") as stop_here:  # noqa: PT012
        stop_here()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        pytest.fail("the second signal did nothing")
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_before_the_first_good_place_a_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), stops_wait("saved"):  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal did nothing")
