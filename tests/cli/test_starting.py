"""Signals from the first import to the end of the interpreter."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tinygrad_gpt.cli.starting import STOPS, stops_at_once, stops_heeded

REPOSITORY = Path(__file__).resolve().parents[2]
NUMBERS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")


def python(code, *args):
    return subprocess.run([sys.executable, "-c", code, *args], cwd=REPOSITORY, capture_output=True, timeout=60)


DURING_IMPORTS = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), int(sys.argv[2]))

sys.meta_path.insert(0, Finder())
from tinygrad_gpt.cli import main
sys.exit(main(["--version"]))
"""


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("module", ["click", "click.core", "tinygrad_gpt.cli.failures", "tinygrad_gpt.cli.options"])
def test_a_signal_during_the_imports_ends_in_one_line(module, number):
    done = python(DURING_IMPORTS, module, str(int(number)))
    assert done.returncode == STOPS[number][0] == 128 + number
    assert done.stdout == b""
    assert done.stderr.decode() == (
        f"error: {STOPS[number][1]}: stopped on request; start the command again when you like\n")


AT_THE_END = """
import atexit, os, sys

atexit.register(lambda: os.kill(os.getpid(), int(sys.argv[1])))  # called behind what is registered later
from tinygrad_gpt.cli import main
sys.exit(main(["--version"]))
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_when_all_is_done_changes_nothing(number):
    done = python(AT_THE_END, str(int(number)))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_a_signal_that_the_caller_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert signal.SIGTERM not in stops_heeded()
        with stops_at_once():
            os.kill(os.getpid(), signal.SIGTERM)  # as under nohup
    finally:
        signal.signal(signal.SIGTERM, before)


def test_handlers_are_put_back_and_other_threads_set_none():
    before = [signal.getsignal(number) for number in NUMBERS]
    with stops_at_once():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in NUMBERS] == before
    entered = []

    def elsewhere():
        with stops_at_once():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [before[1]]
