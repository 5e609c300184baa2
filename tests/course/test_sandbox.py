"""Code that loops, takes memory, exits, prints, writes or copies: no points, one line why, and nothing has happened."""

import re

import pytest

from tinygrad_gpt.course import sandbox
from tinygrad_gpt.course.blanks import blank_text
from tinygrad_gpt.course.exercises import exercise
from tinygrad_gpt.course.grade import grade

EMPTY = 'raise NotImplementedError("the gradient of x")'
BAD = {
    "memory": ("many = []\n        while True:\n            many.append(bytes(10**7))",
               "takes more than 1 GiB of memory"),
    "one large array": ("return xp.zeros(10**10)", "takes more than 1 GiB of memory"),
    "exit": ("import sys\n        sys.exit(0)", r"ends the program \(SystemExit\)"),
    "hard exit": ("import os\n        os._exit(0)", r"ends the process that runs it \(exit code 0\)"),
    "a million lines": ("for _ in range(10**6):\n            print('x' * 10)", "prints more than 65,536 characters"),
    "a file outside": ("open('../outside.txt', 'w')", r"writes a file outside its folder, .* \(../outside.txt\)"),
    "another exercise": ("open('01_mul.py', 'w')", r"writes a file outside its folder, or one of the course"),
    "removing": ("import os\n        os.remove('01_mul.py')", r"changes files \(os.remove\)"),
    "the solution": ("from tinygrad_gpt.ops import gelu\n        return g", "imports tinygrad_gpt.ops: "),
    "the solution, caught": ("try:\n            import tinygrad_gpt.ops\n        except BaseException:\n"
                             "            pass\n        return g", "imports tinygrad_gpt.ops: "),
    "the source": ("import tinygrad_gpt\n        return open(tinygrad_gpt.__path__[0] + '/ops/activation.py').read()",
                   "reads the package, which holds the gradients"),
    "the grader": ("import tinygrad_gpt\n        open(tinygrad_gpt.__path__[0] + '/course/grade.py', 'a')",
                   "writes a file outside its folder"),
    "a differentiator": ("import torch\n        return g", "imports torch, which differentiates by itself"),
    "a program": ("import os\n        os.system('true')", "starts another program"),
    "a process": ("import subprocess\n        subprocess.run(['true'])", "starts another program"),
    "the network": ("import socket\n        socket.socket()", "uses the network"),
    "the parent": ("import os\n        os.kill(os.getppid(), 9)", r"changes the process that grades it \(os.kill\)"),
    "a question": ("input()", r"raises RuntimeError: input\(\): lost sys.stdin"),
    "a database": ("import sqlite3\n        sqlite3.connect('../outside.db')", r"changes files \(sqlite3.connect\)"),
    "a pipe": ("import os\n        os.write(1, b'x' * 10**6)\n        return 'a'", "a gradient is str, not an array"),
    "no array": ("return 'a'", "a gradient is str, not an array"),
    "recursion": ("return grad_x(g)", r"raises RecursionError: maximum recursion depth exceeded \(line \d+\)"),
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "course"
    path.mkdir()
    (path / "01_mul.py").write_text("kept")
    return path


def graded(folder, text):
    each = exercise("gelu")
    path = folder / each.file
    path.write_text(text, encoding="utf-8")
    return grade(each, path)


@pytest.mark.parametrize("what", BAD)
def test_bad_code_gets_no_points_and_one_line(folder, what):
    body, said = BAD[what]
    result = graded(folder, blank_text(exercise("gelu")).replace(EMPTY, body))
    assert result.points == 0
    assert len(result.said) == 1
    assert re.match(f"(gradient of 'x': )?{said}", result.said[0])
    assert "\n" not in result.said[0]
    assert {path.name for path in folder.iterdir()} == {"01_mul.py", "12_gelu.py"}
    assert {path.name for path in folder.parent.iterdir()} == {"course"}
    assert (folder / "01_mul.py").read_text() == "kept"


@pytest.mark.parametrize("where", ["in the gradient", "in the file"])
def test_a_loop_is_stopped(folder, where, monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 2)
    blank = blank_text(exercise("gelu"))
    result = graded(folder, blank.replace(EMPTY, "while True: pass") if where == "in the gradient" else
                    "while True: pass\n")
    assert result.said == ("takes more than 2 seconds: is there a loop without an end?",)


@pytest.mark.parametrize(("text", "said"), [
    ("def gelu(xp, x:\n", r"raises SyntaxError: .*\(12_gelu.py, line 1\)"),
    ("", "the file has no function gelu: leave its name as it was"),
    ("1 / 0\n", r"raises ZeroDivisionError: division by zero \(line 1\)"),
    ("def gelu(xp, x):\n    return x\n", r"returns no pair: end with `return y, \(grad_x, …\)`"),
    ("import math\ndef gelu(xp, x):\n    h = 0.5 * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))\n"
     "    return x * h, lambda g: g * h\n", "one function in place of the pullbacks returns all gradients; for a "),
    ("import math\ndef gelu(xp, x):\n    h = 0.5 * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))\n"
     "    def grad_x(g):\n        g * h\n    return x * h, (grad_x,)\n", "returns nothing: the `return` of grad_x is "),
])
def test_files_that_are_no_exercise(folder, text, said):
    result = graded(folder, text)
    assert result.points == 0
    assert re.match(said, result.said[0])


def test_what_is_printed_is_shown_and_a_file_of_its_own_may_be_written(folder):
    body = "print('shape', g.shape)\n        open('notes.txt', 'w').write('seen')\n        return 0 * x"
    result = graded(folder, blank_text(exercise("gelu")).replace(EMPTY, body))
    assert result.printed.startswith("shape (2, 3)\n")
    assert "all zeros" in result.said[0]
    assert (folder / "notes.txt").read_text() == "seen"
