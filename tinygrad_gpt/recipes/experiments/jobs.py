"""Independent work in several processes of one machine, by joblib."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.backend.loading import on_backend
from tinygrad_gpt.engine import using_ops
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.errors import TinygradError, UsageError

__all__ = ["spread"]

Item = TypeVar("Item")


def spread(jobs: int, function: Callable[[Item], Any],
           items: Iterable[Item]) -> Iterator[tuple[Item, TinygradError | None]]:
    """Call ``function(item)`` for each item; yield the items as they are done, with the error where there was one.

    The processes share the cores, and compute on the backend and with the form of the ops that are in force here.

    Args:
        jobs: processes.
        function, items: what can be pickled.

    Raises:
        UsageError: "2 jobs (joblib): it is not installed; …".
    """
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise UsageError(f"{jobs} jobs (joblib): it is not installed; install it with `pip install joblib`, or take "
                         "one job") from error
    here = default_backend().name, current_mode().ops
    yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_computed)(function, item, *here) for item in items)


def _computed(function: Callable[[Item], Any], item: Item, backend: str,
              ops: str) -> tuple[Item, TinygradError | None]:
    try:
        with on_backend(backend), using_ops(ops):
            function(item)
    except TinygradError as error:
        return item, error
    return item, None
