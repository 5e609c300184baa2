"""Broken copies of an op: one small change in the code of a form's pullbacks, made on the syntax tree."""

import ast
import copy
import faulthandler
import functools
import inspect
import os
import signal
import textwrap
import warnings
from collections.abc import Callable, Iterator

from tinygrad_gpt.engine import Op
from tinygrad_gpt.engine.forms import Form
from tinygrad_gpt.study.show import called_functions

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
COMPARISONS = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.GtE: ast.Lt, ast.LtE: ast.Gt}


# Ends of the names of functions that make gradients, or sums for them; of all others the pullbacks in them are changed.
MAKE_GRADIENTS = ("_grads", "_passes", "_product", "_slope", "_target", "row_means", "row_sums", "sum_rows")
_called = functools.cache(called_functions)


def mutants(op: Op, form: str) -> Iterator[tuple[str, Op]]:
    """Pairs (what was changed, the op with a changed form, "plain", "fast" or "cuda")."""
    yield from _whole(op, form)
    function = getattr(op, form).function
    for owner in (function, *_called(function)):
        tree = _tree(owner)
        for node, statement in _rule(tree, owner):
            text, line = ast.unparse(node), ast.unparse(statement)
            line = line.split("\n")[0] if isinstance(statement, ast.For) else line
            for change, replacement in _changes(node, _values(tree, owner)):
                restore = _put(tree, node, replacement or ast.Pass())
                mutant = _rebuilt(op, form, owner, tree)
                restore()
                yield f"{change}: {text if text == line else f'{text} in {line}'}", mutant


def copies(op: Op, form: str) -> Iterator[Op]:
    """The op with its form rebuilt as for a mutant, once for each function that mutants change, but nothing changed."""
    function = getattr(op, form).function
    for owner in (function, *_called(function)):
        if _rule(_tree(owner), owner):
            yield _rebuilt(op, form, owner, _tree(owner))


def _whole(op, form):
    """Changes of the op as a whole: sum-down forgotten, pullbacks in the wrong places."""
    function = getattr(op, form).function
    if op.broadcasts:
        mutant = _with_form(op, form, function)
        mutant.broadcasts = False
        yield "broadcasting is not undone", mutant
    if len(op.arguments) > 1:
        @functools.wraps(function)
        def exchanged(xp, *arrays, **settings):
            y, pullbacks = function(xp, *arrays, **settings)
            return y, (lambda g: _backwards(pullbacks(g))) if callable(pullbacks) else _backwards(pullbacks)

        yield "pullbacks exchanged", _with_form(op, form, exchanged)


def _backwards(parts):
    """Those that are there, in reverse order."""
    there = iter([part for part in parts if part is not None][::-1])
    return [part if part is None else next(there) for part in parts]


def _with_form(op, form, function):
    """A copy of the op with another function for a form."""
    mutant, original = copy.copy(op), getattr(op, form)
    changed = copy.copy(original)
    changed.function = function
    setattr(mutant, form, changed)
    assert isinstance(changed, Form)
    return mutant


@functools.cache
def _tree(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tree.body[0].decorator_list = []
    return tree


def _pullbacks(tree, owner):
    if owner.__name__.endswith(MAKE_GRADIENTS):
        return [tree.body[0]]
    return [n for n in tree.body[0].body if isinstance(n, ast.FunctionDef)]


def _rule(tree, owner):
    """Pairs (node, the innermost statement around it) of the pullbacks."""
    around = {}
    for pullback in _pullbacks(tree, owner):
        for statement in ast.walk(pullback):
            if isinstance(statement, ast.stmt) and statement is not pullback:  # outer ones come first
                around |= {node: statement for node in ast.walk(statement)}
    return [*around.items()]


def _changes(node, names) -> Iterator[tuple[str, ast.AST | None]]:
    """What can be done to a node: (description, replacement); None removes a statement."""
    match node:
        case ast.Return(value=ast.Tuple(elts=parts)):
            for i, part in enumerate(parts):
                if not isinstance(part, (ast.Constant, ast.Starred)):
                    yield f"negate part {i}", ast.Return(ast.Tuple(
                        [*parts[:i], ast.UnaryOp(ast.USub(), part), *parts[i + 1:]], ast.Load()))
        case ast.Return(value=value) if not isinstance(value, ast.ListComp):
            for text in ("-({})", "2 * ({})", "0 * ({})", "({}) ** 2", "({})[::-1]", "({}) + 1", "abs({})"):
                yield f"return {text}", _parse(f"return {text.format(ast.unparse(value))}")
        case ast.ListComp(elt=part):
            for text in ("-({})", "2 * ({})", "0 * ({})", "({}) ** 2", "({}) + 1"):
                yield f"element {text}", _parse(f"[{text.format(ast.unparse(part))}" + ast.unparse(node)[
                    1 + len(ast.unparse(part)):]).value
        case ast.AugAssign(target, operator, value):
            if type(operator) in OPERATORS:
                yield "operator", ast.AugAssign(target, OPERATORS[type(operator)](), value)
            yield "dropped", None
        case ast.BinOp(left, operator, right):
            if type(operator) in OPERATORS:
                yield "operator", ast.BinOp(left, OPERATORS[type(operator)](), right)
            yield "only left", left
            yield "only right", right
            if not isinstance(operator, (ast.Add, ast.Mult)):
                yield "swapped", ast.BinOp(right, operator, left)
        case ast.UnaryOp(ast.USub(), operand):
            yield "sign", operand
        case ast.Compare(left, [operator], right) if type(operator) in COMPARISONS:
            yield "comparison", ast.Compare(left, [COMPARISONS[type(operator)]()], right)
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant + 1", ast.Constant(value + 1)
            yield "constant - 1", ast.Constant(value - 1)
        case ast.Call(func=ast.Attribute(value, method), args=arguments):
            is_function = isinstance(value, ast.Name) and value.id == "xp"
            if is_function and arguments:
                yield "call dropped", arguments[-1 if method == "where" else 0]
                if method == "where":
                    yield "branches exchanged", ast.Call(node.func, [arguments[0], arguments[2], arguments[1]], [])
            elif not is_function:
                yield "call dropped", value
        case ast.Call(func=ast.Name(id="bmm"), args=[a, b]):
            yield "swapped", ast.Call(node.func, [b, a], [])
        case ast.IfExp(body=body, orelse=orelse):
            yield "always", body
            yield "never", orelse
        case ast.If():
            yield "dropped", None
        case ast.Name(id=name, ctx=ast.Load()) if name in names:
            for other in names:
                if other != name:
                    yield f"{name} -> {other}", ast.Name(other, ast.Load())


@functools.cache
def _values(tree, owner):
    """Names of the function that its pullbacks use: g, what is saved, what is computed on the way."""
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    used = {n.id for pullback in _pullbacks(tree, owner) for n in ast.walk(pullback) if isinstance(n, ast.Name)}
    return sorted(bound & used - {"xp"})


def _parse(text):
    return ast.parse(text).body[0]


def _put(tree, target, replacement):
    """Replace the node ``target`` in the tree; returns a function that puts it back."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, field, replacement)
                return functools.partial(setattr, parent, field, target)
            if isinstance(value, list) and any(item is target for item in value):
                at = next(i for i, item in enumerate(value) if item is target)
                value[at] = replacement
                return functools.partial(value.__setitem__, at, target)
    raise AssertionError("not in the tree")


def _rebuilt(op, form, owner, tree):
    """The op with the mutated code of ``owner``, which is its form's function or one that this calls."""
    function = getattr(op, form).function
    mutated = compile(ast.fix_missing_locations(tree), f"<mutant of {op.name}>", "exec")
    callers = [f for f in (function, *_called(function)) if owner in _called(f)]
    modules, new = {}, {}  # copies of modules by name; functions that call the changed one, and their new versions
    for changed in {owner, *callers}:
        namespace = modules.setdefault(changed.__module__, dict(changed.__globals__))
        before = namespace[changed.__name__]  # the function, or its op
        exec(mutated if changed is owner else _code(changed), namespace)
        new[changed], namespace[changed.__name__] = namespace[changed.__name__], before
    for namespace in modules.values():
        for name, value in [*namespace.items()]:
            if isinstance(value, Op) and value.function in new:
                namespace[name] = _with_form(value, "plain", new[value.function])
            elif inspect.isfunction(value) and value in new:
                namespace[name] = new[value]
    return _with_form(op, form, new[function])


@functools.cache
def _code(function):
    return compile(_tree(function), function.__code__.co_filename, "exec")


def returns_in_a_child(function: Callable[[], None]) -> bool:
    """Whether a call returns, in a process of its own: a changed launch may hang, or write outside its arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: of a fork beside threads
        child = os.fork()
    if not child:
        faulthandler.disable()
        signal.alarm(10)
        try:
            function()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
