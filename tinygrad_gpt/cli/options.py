"""What commands share: option types that check their values, the common options, and printing."""

import functools
import json
import os
import re
import reprlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from tinygrad_gpt.cli.paths import refuse_overwriting
from tinygrad_gpt.cli.ranks import THREAD_VARIABLES, rank_settings, refuse_ranks
from tinygrad_gpt.errors import ResourceError, TinygradError, UsageError

__all__ = [
    "Duration", "NonNegativeFloat", "NonNegativeInt", "PositiveFloat", "PositiveInt", "Settings", "UnitInterval",
    "add_options", "check_source", "columns_given", "common_options", "echo", "one_line", "opened", "print_json",
    "printable", "remember", "settings_options",
]

LEAST_MEMORY = 240 * 2**20  # bytes of addresses for NumPy and HDF5 with one thread


# All else is left as it is: wide spaces, joiners and variation selectors are letters of texts.
_ESCAPED = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")


class Number(click.ParamType):
    """A number in plain ASCII digits within a range; `nan`, `inf` and `1_0` are refused with everything else."""

    pattern: str
    parse: Callable[[str], float]

    def __init__(self, maximum: float):
        self.maximum = maximum

    def accepts(self, number: float) -> bool:
        raise NotImplementedError

    def wanted(self) -> str:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        if re.fullmatch(self.pattern, text):
            number = type(self).parse(text)
            if self.accepts(number):
                return number
        return self.fail(f"{reprlib.repr(value)} is not {self.wanted()}", param, ctx)


class PositiveInt(Number):
    """A whole number from 1 to `maximum`."""

    name = "integer"
    pattern = "0*[0-9]{1,18}"
    parse = int
    minimum = 1

    def __init__(self, maximum: int = 1_000_000_000):
        super().__init__(maximum)

    def accepts(self, number: float) -> bool:
        return self.minimum <= number <= self.maximum

    def wanted(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"


class NonNegativeInt(PositiveInt):
    """A whole number from 0 to `maximum`."""

    minimum = 0


class PositiveFloat(Number):
    """A number above 0 and at most `maximum`."""

    name = "number"
    pattern = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
    parse = float

    def __init__(self, maximum: float = 1e6):
        super().__init__(maximum)

    def accepts(self, number: float) -> bool:
        return 0 < number <= self.maximum

    def wanted(self) -> str:
        return f"a number above 0 and at most {self.maximum:g}"


class NonNegativeFloat(PositiveFloat):
    """A number from 0 to `maximum`."""

    def accepts(self, number: float) -> bool:
        return 0 <= number <= self.maximum

    def wanted(self) -> str:
        return f"a number from 0 to {self.maximum:g}"


class UnitInterval(NonNegativeFloat):
    """A number from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(maximum=1.0)


class Duration(Number):
    """Seconds, from a number with s, m or h behind it."""

    name = "duration"
    pattern = r"[0-9]+(\.[0-9]*)?[smh]?"

    def __init__(self, maximum: float = 30 * 86400):
        super().__init__(maximum)

    @staticmethod
    def parse(text: str) -> float:  # type: ignore[override]
        return float(text.rstrip("smh")) * {"m": 60, "h": 3600}.get(text[-1], 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return value if isinstance(value, float) else super().convert(value, param, ctx)

    def accepts(self, number: float) -> bool:
        return 0 < number <= self.maximum

    def wanted(self) -> str:
        return "a time such as 90s, 10m or 2h, 30 days at most"


@dataclass
class Settings:
    """What holds for every command; it travels as click's `ctx.obj`."""

    backend: str = "numpy"
    threads: int | None = None
    debug: bool = False
    ops: str | None = None
    gradients: str | None = None
    attention: str = "own"
    shard_optimizer: bool = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the number of threads, then the backend: NumPy reads the threads once, when it is imported."""
        _refuse_small_limit()
        if self.threads is not None:
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        os.environ.update(rank_settings(self.threads, self.backend))
        with ExitStack() as stack:
            if self.backend != "numpy":
                from tinygrad_gpt.backend import on_backend

                taken = stack.enter_context(on_backend(self.backend)).name
            if self.ops is not None:
                from tinygrad_gpt.engine import using_ops

                stack.enter_context(using_ops(self.ops))
            if self.gradients is not None:
                stack.enter_context(self._own_gradients(self.gradients))
            if self.attention != "own":
                from tinygrad_gpt.backend.cudnn import attention

                stack.enter_context(attention(self.attention))
            yield
            if self.backend == "auto":  # at the end, because a failure is the only line on stderr
                why = "" if taken != "numpy" else "; --backend cupy says what is missing for a GPU"
                print(f"computed on {taken}{why}", file=sys.stderr)


    def _own_gradients(self, path: str) -> AbstractContextManager[None]:
        """The functions of a file or folder in place of the ops of their names."""
        from tinygrad_gpt.course.gradients import own_functions, using_gradients

        if self.ops not in (None, "plain"):
            raise UsageError(f"--ops ({self.ops}): --gradients run with the plain forms; leave one of the two out")
        functions, unwritten = own_functions(Path(path))
        rest = f"; not written yet: {', '.join(unwritten)}" if unwritten else ""
        print(f"gradients of {path}: {', '.join(functions) or 'none'}{rest}", file=sys.stderr)
        return using_gradients(functions)


def _refuse_small_limit() -> None:
    """Refuse to compute where the system gives a process less memory than the libraries take: some end it silently."""
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_MEMORY:
        raise ResourceError(f"out of memory (ulimit -v): the limit is {limit // 1024:,} kB, and the libraries alone "
                            f"take more than {LEAST_MEMORY // 1024:,} kB; raise it")


def remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value and param.name:  # an option that is absent here may have been given before the command's name
        setattr(ctx.ensure_object(Settings), param.name, value)


_SETTINGS = (
    click.option("--backend", type=click.Choice(["numpy", "cupy", "auto"]), expose_value=False, callback=remember,
                 help="Array package to compute with.  [default: numpy]"),
    click.option("--threads", type=PositiveInt(maximum=1024), expose_value=False, callback=remember,
                 metavar="N", help="CPU threads to use.  [default: all]"),
    click.option("--ops", type=click.Choice(["composed", "plain", "fast", "compiled"]), expose_value=False,
                 callback=remember,
                 help="Form of the ops: fused ones as simpler ops, the plain functions that can be read, the tuned "
                      "ones, or those with loops that numba compiles; the same numbers.  [default: fast]"),
    click.option("--gradients", expose_value=False, callback=remember, metavar="PATH",
                 help="Your own gradients: a Python file, or a folder of the course, whose functions replace the ops "
                      "of their names."),
    click.option("--composed", "ops", flag_value="composed", expose_value=False, callback=remember,
                 help="The same as --ops composed."),
    click.option("--debug", is_flag=True, expose_value=False, callback=remember,
                 help="Show the traceback of a failure."),
)


def settings_options(function: Callable) -> Callable:
    """Add the options that every command has; `ctx.obj`, a `Settings`, has their values."""
    return add_options(function, _SETTINGS)


def add_options(function: Callable, options: Sequence[Callable]) -> Callable:
    """Add options to a command, in the order in which --help lists them."""
    for option in reversed(options):
        function = option(function)
    return function


def common_options(function: Callable) -> Callable:
    """Add the same options to a command; before its body runs, check its outputs and apply these options."""

    @functools.wraps(function)
    def with_settings(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        refuse_ranks(context)
        refuse_overwriting(context.params)
        with context.ensure_object(Settings).applied():
            try:
                return function(*args, **kwargs)
            except TinygradError as error:
                error.args = in_options(str(error), context.command),
                raise

    return settings_options(with_settings)


def in_options(message: str, command: click.Command) -> str:
    """A message about settings with the options of a command in their place: ``n_embd is 10`` is ``--n-embd is 10``.

    Names with an underscore are replaced anywhere, others where the message begins with them.
    """
    options = {param.name: param.opts[0] for param in command.params if param.name and param.opts[0].startswith("--")}
    first = re.match(r"(\w+) (?:is|has) ", message)
    message = options[first[1]] + message[first.end(1):] if first and first[1] in options else message
    return re.sub(r"(?<![\w/.'-])\w+_\w+(?![\w/.'-])", lambda name: options.get(name[0], name[0]), message)


def check_source(command: str, what: str, given: Sequence[str], file: str | None, text_column: str | None) -> None:
    """Refuse a command that is given no texts, or texts from two sources.

    Args:
        command: its name.
        what: one of its arguments, such as "text".
        given, file, text_column: the arguments, and the values of `--file` and `--text-column`.
    """
    if bool(given) == bool(file):
        why = (f"both {what}s and --file are given; use one of them" if file else
               f"no {what}; give {what.upper()}... or --file")
        raise UsageError(f"cannot {command} (arguments): {why}")
    if text_column and not file:
        raise UsageError("--text-column (arguments): there is no --file that it could be a column of; leave it out")


def columns_given(columns: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """The values of an option for one column that may be given several times: None, one, or all."""
    return (columns or (None,))[0] if len(columns) < 2 else columns


def opened(file: str) -> str | BinaryIO:
    """What to read texts from: a path, or standard input for ``-`` and ``/dev/stdin``, which may be a pipe."""
    if file not in ("-", "/dev/stdin"):
        return file
    if sys.stdin is None:
        raise UsageError(f"{file} (arguments): standard input is closed; name a file")
    return sys.stdin.buffer


def printable(text: str, *, keep: str = "") -> str:
    """Escape what a terminal would obey or could not show: control characters, bidi marks, lone surrogates."""
    return _ESCAPED.sub(lambda c: c[0] if c[0] in keep else c[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """`text` with its newlines folded into spaces and everything else made printable."""
    return printable(" ".join(line.strip() for line in re.split(r"[\r\n]+", text.strip())))


def echo(text: str = "", end: str = "\n") -> None:
    """Print text on stdout; control characters other than newline and tab are escaped."""
    print(printable(text, keep="\n\t"), end=end, flush=True)


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON; what `printable` escapes, and what stdout cannot show, as ``\\uXXXX``."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text = _ESCAPED.sub(lambda c: f"\\u{ord(c[0]):04x}", text)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    print(text, flush=True)
