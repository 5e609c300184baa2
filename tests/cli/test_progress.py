"""What is told while a run prepares and trains."""

import re

import pytest

from tinygrad_gpt.backend import on_backend
from tinygrad_gpt.cli import progress
from tinygrad_gpt.cli.progress import PreparationLines, counting_bar, rate_shown
from tinygrad_gpt.runs.progress import Preparation


def test_preparation_is_silent_where_it_is_quick(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = PreparationLines()
    for seconds, done in ((1, 10), (6, 2000), (7, 3000), (12, 4000), (20, 0)):
        now[0] = seconds
        lines(Preparation("tokenising (a.txt)", done, 5000 if done else 0))
    assert capsys.readouterr().err.splitlines() == [
        "tokenising (a.txt): 2,000 of 5,000 characters", "tokenising (a.txt): 4,000 of 5,000 characters"]


@pytest.mark.parametrize(("seconds", "text"), [
    (0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (3500, "58 min"), (3600, "1 h 0 min"), (6540, "1 h 49 min")])
def test_durations_are_those_that_people_say(seconds, text):
    assert progress._duration(seconds) == text


def test_memory_is_that_of_the_host_or_of_the_device():
    assert re.fullmatch(r"[\d,]+ MB \(peak [\d,]+\)", progress._memory())
    with on_backend("strict"):
        assert progress._memory() == "strict: 0 MB at most"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_a_bar_counts_on_a_terminal_only(on_terminal, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: on_terminal)
    with counting_bar("window") as report:
        for done in range(1, 4):
            report(done, 3)
    assert ("?window/s" in capsys.readouterr().err) is on_terminal


def test_a_bar_without_a_stderr_is_silent(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with counting_bar("window") as report:
        report(1, 1)
        report(2, 2)


def test_the_rate_and_the_time_left(capsys, monkeypatch):
    now, read = [100.0], [0.2]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with rate_shown(1000, lambda: read[0]) as report:
        for seconds, done, part in ((104, 1400, 0.3), (110, 2000, 0.4), (112, 2200, 0.5), (120, 3000, None)):
            now[0], read[0] = seconds, part
            report(done)
    assert capsys.readouterr().err.splitlines() == [
        "2,000 texts, 100 texts/s, 30 s left", "3,000 texts, 100 texts/s"]


def test_on_a_terminal_the_rate_is_one_line_that_goes_away(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with rate_shown(0, lambda: 0.5) as report:
        report(10)
    err = capsys.readouterr().err
    assert "10 texts, " in err
    assert "\n" not in err
