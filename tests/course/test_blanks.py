"""A student's text has the forward pass, and nothing of a solution: no line, no run of tokens, no bytecode."""

import ast
import inspect
import io
import textwrap
import tokenize

import numpy as np
import pytest

import tinygrad_gpt.ops.cuda
import tinygrad_gpt.ops.fast
from tinygrad_gpt.course import exercises, layers
from tinygrad_gpt.course.blanks import blank_text, load
from tinygrad_gpt.course.exercises import exercise
from tinygrad_gpt.course.folder import start
from tinygrad_gpt.course.solutions import solution
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.calls import samples
from tinygrad_gpt.study.cases import XP
from tinygrad_gpt.study.show import called_functions

EXERCISES = [each for each in exercises.EXERCISES if not each.is_layer]
GRAM = 9  # tokens in a row: shorter runs are idioms, such as .sum(axis=axis, keepdims=True)


def tokens(source):
    """The tokens of a program, without comments, docstrings and layout."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.STRING)
    return [t.string for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in skipped]


def grams(source):
    words = tokens(source)
    return {tuple(words[k:k + GRAM]) for k in range(len(words) - GRAM + 1)}


def forms(op):
    """The functions that hold an op's gradients: its forms, and what they call."""
    for form in (op.plain, op.fast, op.cuda):
        if form is not None:
            yield from (form.function, *called_functions(form.function))


def pullbacks(function):
    """The sources of the pullbacks in a function; the whole function, where all of it makes gradients."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    inner = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n is not tree]
    return [ast.unparse(n.body) for n in inner] if inner else []


def forward(op):
    """All code of the plain function but its pullbacks, which the student is given."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(op.function))).body[0]
    tree.body = [s for s in tree.body if not isinstance(s, ast.FunctionDef)]
    return ast.unparse(tree)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("student") / "course"
    start(path, "ada")
    return path


@pytest.fixture(scope="module")
def given():
    """Runs of tokens of all forward passes that students are given."""
    return set().union(*(grams(forward(each.op)) for each in EXERCISES),
                       *(grams(inspect.getsource(f)) for each in EXERCISES for f in called_functions(each.op.function)))


def test_no_run_of_tokens_of_a_gradient_is_in_any_file(folder, given):
    secret = {gram for each in EXERCISES for f in forms(each.op) for text in pullbacks(f) for gram in grams(text)}
    secret -= given
    assert len(secret) > 500
    for path in folder.iterdir():
        if path.suffix == ".py":
            assert grams(path.read_text(encoding="utf-8")) & secret == set(), path.name


def test_no_line_of_a_gradient_and_no_field_about_it_is_in_any_file(folder):
    lines = {line.partition("  #")[0].strip() for each in EXERCISES for f in forms(each.op) for text in pullbacks(f)
             for line in text.splitlines()}
    lines -= {line.strip() for each in EXERCISES for line in forward(each.op).splitlines()}
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        there = {line.strip() for line in text.splitlines()}
        assert not {line for line in there & lines if len(line) > 12}, path.name
        assert not [field for field in ("Gradient:", "Saves:", "Source:", "@op", "@fast", "@cuda") if field in text]


def test_a_folder_holds_texts_and_nothing_else(folder):
    assert {path.suffix for path in folder.iterdir()} == {".py", ".json", ".md"}
    assert all(path.is_file() for path in folder.iterdir())  # no __pycache__ with bytecode


def test_nothing_of_a_layer_is_in_any_file(folder, given):
    solutions = {name: grams(ast.unparse(ast.parse(inspect.getsource(getattr(layers, name))).body[0].body)) - given
                 for name in layers.LAYERS}
    assert all(solutions.values())
    for path in folder.glob("*.py"):
        for name, secret in solutions.items():
            assert not grams(path.read_text(encoding="utf-8")) & secret, (path.name, name)


def test_the_check_of_leaks_can_fail(given):
    solved = solution(exercise("layer_norm"))
    secret = {g for text in pullbacks(OPS["layer_norm"].function) for g in grams(text)} - given
    assert grams(solved) & secret


@pytest.mark.parametrize("each", EXERCISES, ids=lambda each: each.name)
def test_a_blank_computes_the_forward_pass_and_no_gradient(each):
    function = load(blank_text(each), each.name, each.file)
    assert inspect.getsource(function)
    for arguments, settings in samples(each.op):
        y, blanks = function(XP, *arguments, **settings)
        assert np.array_equal(y, each.op.function(XP, *arguments, **settings)[0])
    for pullback in [blanks] if callable(blanks) else filter(None, blanks):
        with pytest.raises(NotImplementedError):
            pullback(np.ones_like(y))


def test_fast_and_cuda_forms_are_among_what_is_looked_for():
    modules = {f.__module__ for each in EXERCISES for f in forms(each.op)}
    assert any(name.startswith(tinygrad_gpt.ops.fast.__name__) for name in modules)
    assert any(name.startswith(tinygrad_gpt.ops.cuda.__name__) for name in modules)


@pytest.mark.parametrize("name", ["attention", "linear_cross_entropy"])
def test_one_function_for_all_gradients_says_what_stands_for_those_that_are_none(name):
    text = blank_text(exercise(name))
    assert 'NotImplementedError("a tuple of the gradients of all arguments, None for what has no gradient")' in text
