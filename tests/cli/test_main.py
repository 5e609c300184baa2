"""What holds for every command: exit codes, one line per failure, streams and signals.

The commands here are stubs; the real ones have their own tests.
"""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest

from tinygrad_gpt import errors
from tinygrad_gpt.cli import COMMANDS, main, run
from tinygrad_gpt.cli.commands import evaluate, finetune
from tinygrad_gpt.cli.failures import Terminated

REPOSITORY = Path(__file__).resolve().parents[2]
TABLES = {**COMMANDS, **evaluate.COMMANDS, **finetune.COMMANDS}

STUBS = """
import os, signal, sys, time
import click
from tinygrad_gpt.cli import run
from tinygrad_gpt.cli.options import common_options, echo, print_json

@click.group()
def group(): pass

@group.command()
@click.argument("text")
def say(text): echo(text)

@group.command()
@click.argument("text")
def as_json(text): print_json({"text": text})

@group.command()
@click.argument("text")
def encode(text): echo(str(len(text.encode())))

@group.command()
def many():
    for i in range(100_000): echo(str(i))

@group.command()
@common_options
def bug(): [][1]

@group.command()
@click.argument("name")
def stop(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(10)

sys.exit(run(group, sys.argv[1:]))
"""


def allocate_too_much():
    np.empty(2**58, dtype=np.float64)


def fails_with(error):
    @click.command()
    def command():
        if isinstance(error, BaseException):
            raise error
        error()

    return command


@pytest.fixture
def stub(tmp_path):
    """Run the stub program; returns the finished process."""
    script = tmp_path / "stubs.py"
    script.write_text(STUBS)

    def start(*args, env=(), **settings):
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path), **dict(env)}
        return subprocess.run([sys.executable, script, *args], env=environment, timeout=30, **settings)

    return start


def only_line(stderr):
    lines = stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(("error", "code", "line"), [
    (errors.DataError("row 3 (a.csv:3:1): two columns wanted, got 1; check the file"), 1,
     "row 3 (a.csv:3:1): two columns wanted, got 1; check the file"),
    (errors.CheckpointError("not a checkpoint (x.h5): zero bytes; download it again"), 1,
     "not a checkpoint (x.h5): zero bytes; download it again"),
    (errors.UsageError("lr (--lr): 7; use 1e-4"), 2, "lr (--lr): 7; use 1e-4"),
    (errors.NonFiniteError("loss (step 3): nan; lower --lr"), 3, "loss (step 3): nan; lower --lr"),
    (errors.ResourceError("memory (plan): 9 GiB; use less"), 4, "memory (plan): 9 GiB; use less"),
    (errors.DataError("two\nlines\r\n  and \x1b[31mred\x00 \u202eback"), 1,
     "two lines and \\x1b[31mred\\x00 \\u202eback"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a\nb.csv"), 1,
     "file not found (a b.csv): No such file or directory; check the path"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", "runs"), 1,
     "not a file (runs): Is a directory; name a file, not a folder"),
    (PermissionError(errno.EACCES, "Permission denied", "runs/a"), 1,
     "no permission (runs/a): Permission denied; check who may read and write it"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "aa"), 1,
     "file cannot be used (aa): File name too long; check the path and its folder"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 4,
     "disk is full (runs/a): No space left on device; free some space and run the command again"),
    (MemoryError(), 4, "out of memory (main memory or GPU): an allocation failed; "
                       "make the batch, the texts or the model smaller, or train with --recompute "
                       "or --precision float16 where the command has them"),
    (KeyboardInterrupt(), 130,
     "interrupted (SIGINT): stopped on request; start the command again when you like"),
    (Terminated(), 143, "terminated (SIGTERM): stopped on request; start the command again when you like"),
    (click.ClickException("plain"), 1, "plain"),
])
def test_every_failure_is_one_line_and_a_code(error, code, line, capsys):
    assert run(fails_with(error), []) == code
    captured = capsys.readouterr()
    assert captured.err == f"error: {line}\n"
    assert captured.out == ""


def test_numpys_own_memory_error_names_the_size(capsys):
    assert run(fails_with(allocate_too_much), []) == 4
    assert "Unable to allocate 2.00 EiB" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "part"), [
    (["bogus"], "No such command 'bogus'"),
    (["--bogus"], "No such option '--bogus'"),
    (["--backend", "abacus", "classify"], "bad value for '--backend' (tinygrad-gpt): 'abacus'"),
    (["--threads", "1_0", "classify"], "bad value for '--threads' (tinygrad-gpt): '1_0' is not a whole number"),
    (["--threads"], "Option '--threads' requires an argument"),
    (["--threads", "2"], "Missing command"),
    (["finetune", "bogus"], "wrong usage (tinygrad-gpt finetune): No such command 'bogus'"),
    (["b\udcff\x1b[31m"], "No such command"),
])
def test_wrong_usage_names_the_help_page(args, part, capsys):
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert part in captured.err
    assert captured.err.endswith(" --help'\n")
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(args, capsys):
    assert main(args) == 0
    out = capsys.readouterr().out
    for name, (_, help_line) in COMMANDS.items():
        assert f"  {name} " in out
        assert help_line in out


@pytest.mark.parametrize("name", TABLES)
def test_table_says_what_the_command_says(name):
    module, help_line = TABLES[name]
    if find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    command = __import__(module, fromlist=["command"]).command
    assert command.get_short_help_str(limit=200).rstrip(".") == help_line.rstrip(".")
    assert {p.name for p in command.params} >= {"backend", "threads", "debug"} or hasattr(command, "table")


@pytest.mark.parametrize("start", [["cli.py"], ["-m", "tinygrad_gpt"]])
def test_launchers_share_one_main(start):
    done = subprocess.run([sys.executable, *start, "bogus"], cwd=REPOSITORY, capture_output=True, timeout=30)
    assert done.returncode == 2
    assert done.stdout == b""
    assert only_line(done.stderr).endswith(f"see 'python {' '.join(start)} --help'")


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = ["numpy", "h5py", "tiktoken", "matplotlib", "scipy", "tqdm", "cupy"]
    code = f"import sys, tinygrad_gpt.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_bug_is_one_line_and_a_log_file(stub, tmp_path):
    done = stub("bug")
    assert done.returncode == 70
    assert done.stdout == b""
    line = only_line(done.stderr)
    assert "IndexError: list index out of range" in line
    log = Path(line.split("log file ")[1])
    assert log.parent == tmp_path
    assert "Traceback (most recent call last)" in log.read_text()


def test_debug_shows_the_traceback(stub):
    done = stub("bug", "--debug")
    assert done.returncode == 70
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: this is a bug in tinygrad-gpt")


def test_a_bug_without_home_in_a_folder_nobody_can_write_to(stub, tmp_path):
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME"), "/nonexistent")
    done = stub("bug", env=nowhere, cwd="/proc" if Path("/proc").is_dir() else "/")
    assert done.returncode == 70
    assert str(tmp_path) in only_line(done.stderr)


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc", os.devnull, ""])
def test_a_bug_where_tmpdir_cannot_be_written_is_logged_elsewhere(stub, folder):
    done = stub("bug", env={"TMPDIR": folder})
    assert done.returncode == 70
    log = Path(re.search(r"please report it with the log file (\S+\.log)$", only_line(done.stderr))[1])
    text = log.read_text(encoding="utf-8")
    log.unlink()
    assert "Traceback (most recent call last):" in text


def test_a_bug_that_cannot_be_logged_says_so(monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    assert run(fails_with(ZeroDivisionError("by zero")), []) == 70
    err = capsys.readouterr().err
    assert "ZeroDivisionError: by zero; no log file could be written, run it again with --debug" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_end_in_one_line(stub, name, code):
    done = stub("stop", name)
    assert done.returncode == code
    assert done.stdout == b""
    assert name in only_line(done.stderr)


def test_sigterm_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    assert run(click.Command("nothing", callback=lambda: None), []) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_pipe_ends_quietly(tmp_path, stub):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = stub("many", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_reported(stub):
    with open("/dev/full", "w") as full:
        done = stub("say", "hello", stdout=full)
    assert done.returncode == 4
    assert "disk is full (output)" in only_line(done.stderr)


def test_ascii_terminals_get_escapes(stub):
    done = stub("say", "caf\u00e9 \u65e5", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\\xe9 \\u65e5\n", b"")
    done = stub("caf\u00e9", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert "No such command 'caf\\xe9'" in only_line(done.stderr)


def test_the_c_locale_without_utf8_does_not_crash(stub):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = stub("say", "caf\u00e9", env=plain)  # Python cannot read the argument here, but it can show its bytes
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\\udcc3\\udca9\n", b"")


@pytest.mark.parametrize(("encoding", "expected"), [
    ("utf-8", '{"text": "caf\u00e9 \U0001f600"}\n'.encode()),
    ("ascii", b'{"text": "caf\\u00e9 \\ud83d\\ude00"}\n'),
])
def test_json_stays_json_on_every_terminal(stub, encoding, expected):
    done = stub("as-json", "caf\u00e9 \U0001f600", env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")
    assert json.loads(done.stdout) == {"text": "caf\u00e9 \U0001f600"}


def test_an_argument_that_is_not_unicode_is_refused_or_shown(stub):
    assert stub("say", b"a\xff").stdout == b"a\\udcff\n"
    done = stub("encode", b"a\xff")
    assert (done.returncode, done.stdout) == (1, b"")
    assert "text is not Unicode (character 2)" in only_line(done.stderr)


def test_ctx_exit_keeps_its_code(capsys):
    assert run(click.Command("stop", callback=lambda: click.get_current_context().exit(130)), []) == 130
    assert capsys.readouterr().err == ""


def test_the_example_in_extending_is_a_command(monkeypatch, capsys):
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    section = page.split("## A command")[1]
    source = textwrap.dedent(section.split("```python\n")[1].split("   ```\n")[0])
    monkeypatch.setattr("tinygrad_gpt.text.greeting", "Hello {}".format, raising=False)
    example = {}
    exec(source, example)
    assert run(example["command"], ["Ada", "--times", "2", "--debug"]) == 0
    assert run(example["command"], ["Ada", "--json"]) == 0
    assert capsys.readouterr().out == 'Hello Ada\nHello Ada\n{"lines": ["Hello Ada"]}\n'
