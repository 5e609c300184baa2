"""Warnings and signals that wait (exit codes and lines: test_main.py)."""

import os
import signal
import subprocess
import sys
import warnings

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_gpt.cli import failures, run
from tinygrad_gpt.cli.failures import HungUp, Terminated, fitted, report, stops_wait
from tinygrad_gpt.cli.options import one_line
from tinygrad_gpt.errors import DataError, TinygradError


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
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated),
                                               (getattr(signal, "SIGHUP", signal.SIGTERM), Terminated)])
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
def test_behind_the_last_good_place_a_signal_acts_at_once():
    with pytest.raises(Terminated, match="saved"), stops_wait("saved") as stop_here:  # noqa: PT012
        stop_here()
        stop_here(last=True)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal did nothing")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_before_the_first_good_place_a_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), stops_wait("saved"):  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal did nothing")


def command_of(body):
    return click.Command("stub", callback=body)


class Dropped:
    """Its destructor, in which Python drops exceptions, receives a signal."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("waits", [False, True])
def test_a_signal_whose_exception_python_drops_stops_the_program(waits, capsys):
    done = []

    def work():
        Dropped()  # freed at once
        if waits:
            with stops_wait("saved") as stop_here:
                stop_here()
                done.append("a step")

    assert run(command_of(work), []) == 143
    assert capsys.readouterr().err.startswith("error: terminated (SIGTERM)")
    assert done == []


STOPPED = [(signal.SIGINT, 130, "interrupted (SIGINT)"), (signal.SIGTERM, 143, "terminated (SIGTERM)")]
STOPPED += [(signal.SIGHUP, 129, "hung up (SIGHUP)")] if hasattr(signal, "SIGHUP") else []


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code", "line"), STOPPED)
def test_a_second_signal_while_the_first_is_on_its_way_changes_nothing(number, code, line, capsys):
    cleaned = []

    def body():
        try:
            os.kill(os.getpid(), number)
            pytest.fail("the signal did nothing")
        finally:
            os.kill(os.getpid(), number)
            cleaned.append("closed")

    assert run(command_of(body), []) == code
    assert cleaned == ["closed"]
    assert capsys.readouterr().err == f"error: {line}: {failures.STOPPED}\n"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_later_signal_breaks_off_what_takes_long(monkeypatch, capsys):
    now, reached = [100.0], []
    monkeypatch.setattr(failures.time, "monotonic", lambda: now[0])

    def body():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            now[0] += failures.ONE_STOP
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("never")

    assert run(command_of(body), []) == 130
    assert not reached
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_signal_while_the_failure_is_reported_changes_nothing(monkeypatch, capsys):
    describe = failures.describe

    def interrupted(error):
        os.kill(os.getpid(), signal.SIGTERM)
        return describe(error)

    def body():
        raise DataError("bad data (a.csv): why; try")

    monkeypatch.setattr(failures, "describe", interrupted)
    assert run(command_of(body), []) == 1
    assert capsys.readouterr().err == "error: bad data (a.csv): why; try\n"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_what_a_signal_breaks_is_reported_as_the_signal(capsys):
    def body():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error

    assert run(command_of(body), []) == 130
    assert capsys.readouterr().err == f"error: interrupted (SIGINT): {failures.STOPPED}\n"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_while_a_run_is_saved_a_second_signal_changes_nothing(capsys):
    saved = []

    def body():
        with stops_wait("saved") as stop_here:
            stop_here()
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                stop_here()
            except Terminated:
                os.kill(os.getpid(), signal.SIGTERM)
                saved.append("state")
                raise

    assert run(command_of(body), []) == 143
    assert saved == ["state"]
    assert capsys.readouterr().err == "error: terminated (SIGTERM): saved\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_under_nohup_a_lost_terminal_stops_nothing(capsys):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(command_of(lambda: os.kill(os.getpid(), signal.SIGHUP)), []) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err == ""


def test_a_hang_up_is_a_termination():
    assert issubclass(HungUp, Terminated)
    assert failures.describe(HungUp()) == (129, f"hung up (SIGHUP): {failures.STOPPED}")


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=6), st.text("abc ", max_size=100))
def test_a_line_is_short_and_keeps_its_remedy(parts, remedy):
    line = one_line(f"error: {': '.join(parts)}; {remedy}")
    short = fitted(line)
    assert len(short) <= 240
    assert (short == line) == (len(line) <= 240)
    assert short.endswith(line.rpartition("; ")[2][-20:] if len(line.rpartition("; ")[2]) <= 120 else "")


@pytest.mark.parametrize(("error", "end"), [
    (TinygradError(f"cannot load ({'/deep' * 1000}): no such file; check the path"), "; check the path"),
    (TinygradError(f"unknown ({', '.join(f'h.{i}' for i in range(15_000))}): 15,000; use another"), "; use another"),
    (TinygradError("x" * 10**6), "x"), (click.UsageError("y" * 10**6), " --help'"),
    (ValueError("\n".join("z" * 1000 for _ in range(100))), ".log"),
    (OSError(2, "No such file", "n" * 5000), "; check the path")])
def test_every_error_is_one_short_line(error, end, capsys, monkeypatch, tmp_path):
    (tmp_path / "t").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", "t")
    report(error, debug=False)
    line = capsys.readouterr().err
    assert len(line) <= 241
    assert line.count("\n") == 1
    assert line.endswith(f"{end}\n")
    assert "…" in line


@pytest.mark.parametrize("said", ["libx.so: failed to map segment from shared object", "Cannot allocate memory"])
def test_a_library_that_does_not_fit_is_no_bug(said):
    code, line = failures.describe(ImportError(said))
    assert code == 4
    assert line.startswith("out of memory (main memory or GPU): a library could not be loaded; ")
    assert failures.describe(ImportError("no module"))[0] == 70


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-", ">&-", ">/dev/full 2>&-"])
def test_streams_that_cannot_be_written_leave_the_code(redirect):
    done = subprocess.run(["sh", "-c", f'"$0" -m tinygrad_gpt bogus {redirect}', sys.executable], check=False,
                          capture_output=True, timeout=60)
    assert done.returncode == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of addresses is Linux's")
@pytest.mark.parametrize("limit", [100_000, 150_000])
def test_too_little_memory_is_one_line(limit):
    done = subprocess.run(["sh", "-c", f'ulimit -v {limit}; "$0" -m tinygrad_gpt classify x', sys.executable],
                          check=False, capture_output=True, timeout=60, text=True)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (f"error: out of memory (ulimit -v): the limit is {limit:,} kB, and the libraries alone take "
                           "more than 245,760 kB; raise it\n")
