"""The checklist for a GPU that was never tried, and its notebook, without one."""

import importlib
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import click
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import first_checks
import first_hour
import gpu
from first_hour import Check

from tinygrad_gpt.cli import group

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOK = REPOSITORY / "notebooks" / "first_hour_on_a_gpu.ipynb"
CARD = {"name": "NVIDIA T4", "memory": "15360 MiB", "driver": "580.1"}


def python(name, code, limit=60.0, program=""):
    return Check(name, f"what {name} tells", [sys.executable, "-c", code], limit, program)


def test_a_check_that_fails_or_hangs_stops_no_other(tmp_path, capsys):
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {0!r}]); {0}".format(
        "import time; print(\"begun\", flush=True); time.sleep(1000)")
    outcomes = first_hour.go_through([
        python("good", "print(1)"), python("bad", "print('said'); raise SystemExit('why')"), python("slow", child, 2),
        python("tool", "", program="no-such-program"), python("last", "print(2)")], tmp_path, "a card")
    assert [each.status for each in outcomes] == ["passed", "failed", "out of time", "not run", "passed"]
    printed = capsys.readouterr().out
    assert re.search(r" 2 bad: failed, exit code 1 \(\d+ s\)\n   please send us \S+bad.log: attach it to an ", printed)
    assert "4 tool: not run, no-such-program is not installed" in printed
    text = (tmp_path / "report.md").read_text()
    assert "| 5 last | what last tells | passed |" in text
    assert "```\nsaid\nwhy\n```" in text
    assert (tmp_path / "slow.log").read_text() == "begun\nbegun\n"
    assert (tmp_path / "checks.png").read_bytes().startswith(b"\x89PNG")
    assert [each["name"] for each in json.loads((tmp_path / "report.json").read_text())["checks"]] == [
        "good", "bad", "slow", "tool", "last"]


def test_the_time_is_that_of_all_checks(tmp_path):
    outcomes = first_hour.go_through([python("one", "import time; time.sleep(1.5)"), python("two", "")], tmp_path, "",
                                     total=1)
    assert [(each.status, each.why) for each in outcomes] == [
        ("out of time", "it had not ended after 1 s"), ("not run", "the time is over")]


def test_without_a_gpu_there_is_one_line_and_no_file(tmp_path, monkeypatch, capsys):
    line = "error: backend 'cupy': no NVIDIA GPU is found; look at nvidia-smi"
    check = python("backend", f"print('noise'); raise SystemExit({line!r})")
    monkeypatch.setattr(first_hour, "checklist", lambda out, dry: [check])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--first", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        gpu.main()
    assert left.value.code == 1
    assert capsys.readouterr() == ("", line + "\n")
    assert not (tmp_path / "out").exists()


def test_the_folder_is_packed_and_a_failure_is_the_exit_code(tmp_path, monkeypatch, capsys):
    for code, checks in ((0, [python("backend", "")]), (1, [python("backend", ""), python("bad", "raise ValueError")])):
        monkeypatch.setattr(first_hour, "checklist", lambda out, dry, checks=checks: checks)
        assert first_hour.main(tmp_path / "out", CARD, False) == code
        assert (tmp_path / "out.zip").exists()
    assert "1 of 2 checks failed" in capsys.readouterr().out
    assert "NVIDIA T4 15360 MiB, driver 580.1" in (tmp_path / "out" / "report.md").read_text()


def test_a_stop_leaves_the_report_and_no_process(tmp_path, monkeypatch, capsys):
    waits, begun = first_hour.subprocess.Popen.wait, []

    def stopped(process, timeout=None):
        if timeout and process not in begun and "sleep" in process.args[-1]:
            begun.append(process)
            raise KeyboardInterrupt
        return waits(process, timeout)

    monkeypatch.setattr(first_hour.subprocess.Popen, "wait", stopped)
    monkeypatch.setattr(first_hour, "checklist", lambda out, dry: [
        python("backend", ""), python("slow", "import time; time.sleep(100)")])
    assert first_hour.main(tmp_path, CARD, False) == 130
    assert begun[0].returncode < 0
    assert f"error: stopped; what was found so far is in {tmp_path / 'report.md'}" in capsys.readouterr().err
    assert "| 1 backend |" in (tmp_path / "report.md").read_text()


def options_of(words, monkeypatch):
    """The options that a command of ours is given; it fails on those that the command does not have."""
    script, *arguments = words
    assert (REPOSITORY / script).is_file()
    if Path(script).name == "cli.py":
        command = group.get_command(click.Context(group), arguments[0])
        return command.make_context(arguments[0], arguments[1:])
    if Path(script).name == "first_checks.py":
        assert arguments[0] in first_checks.CHECKS
        return arguments
    assert Path(script).name == "gpu.py"
    monkeypatch.setattr(sys, "argv", words)
    return gpu.command_line()


@pytest.mark.parametrize("dry", [True, False])
def test_every_command_exists_and_parses(tmp_path, monkeypatch, dry):
    checks = first_hour.checklist(tmp_path, dry)
    assert [check.name for check in checks] == [
        "backend", "gradcheck", "agreement", "tests", "memcheck", "racecheck", "repeated", "compiled", "training",
        "launches", "nsys", "ncu"]
    for check in checks:
        at = check.command.index(sys.executable)
        assert bool(check.program) == (at > 0)
        assert check.command[:1] == ([check.program] if check.program else [sys.executable])
        options_of(list(check.command[at + 1:]), monkeypatch)
    fast = sum(check.limit for check in checks if check.name != "training")
    assert dry or fast <= first_hour.TOTAL - 100  # of which the training has the rest


@pytest.mark.parametrize("name", ["backend", "attention", "repeated", "launches", "step", "compiled"])
def test_each_check_runs_on_the_host(name, monkeypatch, capsys):
    monkeypatch.setattr(first_checks, "LAUNCHES", 2)
    first_checks.main(name, "numpy", "tiny")
    assert capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: backend 'tpu': unknown"):
        first_checks.main(name, "tpu")


def test_different_bits_are_found(monkeypatch):
    seeds = iter(range(100))
    monkeypatch.setattr(first_checks.training_step, "__wrapped__", lambda *args, **sizes: (
        lambda: None, first_checks_model(next(seeds))))
    with pytest.raises(SystemExit, match="two equal steps gave different bits"):
        first_checks.repeated(first_checks.TINY)


def first_checks_model(seed):
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    return GPT2(GPT2Config(7, n_ctx=4, n_embd=4, n_layer=1, n_head=1), seed=seed)


BLOCK = {"length": 8, "batches": {"8": {"ours float32": [{"seconds": 2.0}], "torch sdpa float32": [{"seconds": 1.0}]}}}
FINE = {"ops": {"worst": {"mul": 1e-6}, "failures": {}}, "kernels": {}, "model": {}}


@pytest.mark.parametrize(("part", "found", "expected"), [
    ("backend", None, ""), ("tests", {}, "nothing was measured"),
    ("tests", {"tests": {"passed": 5, "failed": 0, "errors": 0}}, ""),
    ("tests", {"tests": {"passed": 5, "failed": 1, "errors": 2}}, "3 tests failed"),
    ("tests", {"tests": {"passed": 0, "failed": 0, "errors": 0}}, "no test passed"),
    ("agreement", {"agreement": FINE}, ""),
    ("agreement", {"agreement": FINE | {"model": {"error": "no memory"}, "ops": {
        "worst": {"mul": 1e-4, "add": 0}, "failures": {"exp": "KeyError"}}}}, "not as on NumPy: exp, mul, model"),
    ("agreement", {"agreement": {"error": "Traceback\nKeyError: 'x'"}}, "KeyError: 'x'"),
    ("training", {"training": BLOCK}, ""),
    ("training", {"training": {"length": 8, "batches": {"8": {"ours float32": [{"error": "memory"}]}}}},
     "no step of ours was measured")])
def test_figures_that_are_wrong_are_a_failure(part, found, expected):
    assert first_hour.complaint(part, found) == expected


def test_speeds_are_drawn(tmp_path):
    assert first_hour._speeds({"training": BLOCK}) == {"ours float32, B 8": 32, "torch sdpa float32, B 8": 64}
    (tmp_path / "training").mkdir()
    machine = {"dry": False, **CARD, "Python": "", "date": "", "ours": {}}
    (tmp_path / "training" / "gpu.json").write_text(json.dumps({"machine": machine, "training": BLOCK | {"took": 1}}))
    first_hour.write_report(tmp_path, "a card", [])
    assert "![tokens per second](training.png)" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


# -- the notebook


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}


def test_the_notebook_has_no_output():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in cells)


def test_the_commands_of_the_notebook_exist_and_parse(monkeypatch):
    lines = [line for code in code_cells().values() for line in code.splitlines() if line[:1] in "!%"]
    programs = {}
    for line in filter(None, lines):
        program, *words = shlex.split(line[1:])
        programs[program] = words
    assert programs.keys() == {"nvidia-smi", "pip", "python"}
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*re.search(r"\[(.*)\]", programs["pip"][-1])[1].split(",")} <= extras.keys()
    assert options_of(programs["python"], monkeypatch).first


def test_the_cells_of_the_notebook_run(tmp_path, monkeypatch, capsys):
    """All that need no GPU, in a folder in which the sources and a report are."""
    shown = []
    module = ModuleType("IPython.display")
    module.Image, module.Markdown, module.display = (lambda path: ("image", path)), str, shown.append
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "google", None)
    importlib.import_module("zipfile").ZipFile(tmp_path / "tinygrad_gpt.zip", "w").writestr(
        "sources/benchmarks/gpu.py", "")
    monkeypatch.chdir(tmp_path)
    cells, names = code_cells(), {}
    exec(cells["fetch"], names)
    assert Path.cwd() == tmp_path / "tinygrad_gpt_sources" / "sources"
    first_hour.go_through([python("good", "")], Path("first-hour").absolute(), "a card")
    exec(cells["report"], names)
    assert shown[0].startswith("# First checks on a GPU\n\na card")
    assert shown[1] == ("image", "first-hour/checks.png")
    exec(cells["download"], names)
    assert "first-hour.zip is in" in capsys.readouterr().out
