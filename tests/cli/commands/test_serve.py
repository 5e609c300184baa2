"""`serve`: it says where it answers, ends on a signal, and fails in one line."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from tinygrad_gpt.cli import main

REPOSITORY = Path(__file__).resolve().parents[3]
needed = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('uvicorn')",
                            reason="the extra 'serve' is not installed")


@needed
@pytest.mark.parametrize(("number", "code", "line"), [
    (signal.SIGTERM, 143, "error: terminated (SIGTERM): stopped on request; start the command again when you like\n"),
    (signal.SIGHUP, 129, "error: hung up (SIGHUP): stopped on request; start the command again when you like\n"),
    (signal.SIGINT, 130, "error: interrupted (SIGINT): stopped on request; start the command again when you like\n"),
])
def test_it_answers_until_a_signal_arrives(models, number, code, line):
    arguments = [sys.executable, "cli.py", "serve", "--port", "0", "--host", "localhost",
                 "--allow-host", "my.example", "--model",
                 str(models / "classifier.h5"), "--model", str(models / "language.h5")]
    process = subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        first = process.stdout.readline()
        url = re.fullmatch(r"serving classifier, language at (http://localhost:\d+/)\n", first)[1]
        assert requests.post(f"{url}api/classify", json={"texts": ["ice"]}, timeout=20).status_code == 200
        asked = [requests.get(f"{url}health", headers={"host": host}, timeout=20).status_code
                 for host in ("my.example", "your.example")]
        writing = threading.Thread(target=requests.post, args=(f"{url}api/generate",), daemon=True, kwargs={
            "json": {"prompt": "bug", "max_new_tokens": 4096}, "timeout": 20})
        writing.start()
        while not requests.get(f"{url}health", timeout=20).json()["jobs_running"]:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert asked == [200, 421]
    assert (process.returncode, out, err) == (code, "", f"Ctrl-C ends it\n{line}")
    writing.join(20)


@needed
def test_a_port_in_use_is_said_in_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert capsys.readouterr() == ("", f"error: cannot serve (127.0.0.1:{port}): address already in use; stop the "
                                       "program that uses it, or give another --port\n")


@needed
@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--port", "65536"], 2, "'65536' is not a whole number from 0 to 65535"),
    (["--port", "http"], 2, "'http' is not a whole number"),
    (["--time-limit", "nan"], 2, "'nan' is not a number above 0"),
    (["--host", "no.such.host.invalid"], 2, "cannot serve (no.such.host.invalid:8000): "),
    (["--host", ""], 2, "the host is empty"), (["--host", "a" * 70], 2, "it is no name of a host"),
    (["--port", "0", "--model", "absent.h5"], 1, "absent.h5"),
    (["--port", "0", "--model", "sms-spam", "--model", "sms-spam"], 2, "two models have the name 'sms-spam'"),
])
def test_bad_arguments_are_refused_in_one_line(arguments, code, message, capsys):
    assert main(["serve", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@needed
def test_other_hosts_are_warned_about(capsys):
    assert main(["serve", "--host", "0.0.0.0", "--port", "0", "--model", "absent.h5"]) == 1
    warning = capsys.readouterr().err.splitlines()[0]
    assert warning.startswith("warning: --host 0.0.0.0: there is no login and no encryption; everyone who reaches ")


def test_without_the_framework_it_says_what_to_install(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("tinygrad_gpt.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert main(["serve"]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: cannot serve \(\w+\): it is not installed; pip install 'tinygrad-gpt\[serve\]'\n", err)
