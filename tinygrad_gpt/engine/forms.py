"""The forms of an op, and which of them runs.

The plain form of an op says what is computed; the others compute the same faster, or step by step. All have the same
signature and the same result.
"""

from collections.abc import Callable

from tinygrad_gpt.engine.halves import any_half, in_float32
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.operators import OPS

__all__ = ["FUNCTIONS", "Form", "Forms", "Function", "compiled", "composed", "cuda", "fast", "forms"]

FUNCTIONS: dict[str, "Function"] = {}  # those that have several forms and are no ops, by name


class Form:
    """One way to compute an op: ``function(xp, *arrays, **settings) -> (y, pullbacks)``.

    Args:
        function: all forms of an op have the same signature. One with a setting ``needs_input_grad`` is told there,
            for each argument, whether its gradient will be asked for.
        takes_halves: it takes float16 and bfloat16 arrays as they are; another is given float32 copies, and what it
            returns is rounded.
    """

    def __init__(self, function: Callable, takes_halves: bool = False):
        self.function, self.takes_halves = function, takes_halves
        self.asks_for_needs = "needs_input_grad" in function.__code__.co_varnames

    def body(self, arrays) -> Callable:
        """The function for these arrays."""
        return self.function if self.takes_halves or not any_half(arrays) else in_float32(self.function)


class Forms:
    """A function of ``xp`` that may have faster forms on the host, and one on a GPU.

    Attributes:
        plain, fast, compiled, cuda: its forms; all but the first may be None.
    """

    def __init__(self, function: Callable, takes_halves: bool = False):
        self.name = function.__name__.rstrip("_")
        self.plain = Form(function, takes_halves)
        self.fast: Form | None = None
        self.compiled: Form | None = None
        self.cuda: Form | None = None
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @property
    def function(self) -> Callable:
        """The plain form's function."""
        return self.plain.function

    def form(self, backend, ops: str = "fast") -> Form:
        """The form that runs on a backend, where ``ops`` are wanted: the one place that chooses."""
        if ops == "plain":
            return self.plain
        if self.cuda is not None and backend.launch is not None:
            return self.cuda
        if ops == "compiled" and self.compiled is not None and backend.on_host:
            return self.compiled
        return self.plain if self.fast is None else self.fast

    def available(self, backend) -> tuple[str, ...]:
        """The names, for `using_ops`, of the different forms that a backend can run."""
        names = {self.form(backend, name): name for name in ("compiled", "fast", "plain")}
        return tuple(reversed(names.values()))


class Function(Forms):
    """A function with several forms that is no op: it makes arrays, and nothing is differentiated."""

    def __call__(self, backend, *args, **settings):
        return self.form(backend, current_mode().ops).function(backend.namespace, *args, **settings)


def forms(function: Callable) -> Function:
    """Let a function ``f(backend's xp, …)`` that is no op have other forms too; it is then called with a backend."""
    FUNCTIONS[function.__name__] = Function(function)
    return FUNCTIONS[function.__name__]


def fast(name: str, takes_halves: bool = False):
    """Register a function as the tuned form, for arrays on the host, of the op or function of that name."""
    return _other_form("fast", name, takes_halves)


def compiled(name: str):
    """Register a function as the form with compiled loops, on the host, of the op or function of that name."""
    return _other_form("compiled", name, False)


def cuda(name: str):
    """Register a function as the form with CUDA kernels of the op or function of that name. It takes halves."""
    return _other_form("cuda", name, True)


def _other_form(kind, name, takes_halves):
    def register(function):
        setattr(OPS.get(name) or FUNCTIONS[name], kind, Form(function, takes_halves))
        return function

    return register


def composed(name: str):
    """Register a function on Tensors, written in simpler ops, as the composed form of the op of that name."""
    def register(function):
        OPS[name].composed = function
        return function

    return register
