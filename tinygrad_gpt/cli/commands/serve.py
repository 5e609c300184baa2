"""`serve`: a page and a JSON API for models."""

import logging
import socket
import traceback
from collections.abc import Sequence

import click

from tinygrad_gpt.cli.options import NonNegativeInt, PositiveFloat, Settings, common_options, echo
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.errors import UsageError

__all__ = ["command"]


@click.command(name="serve")
@click.option("--model", multiple=True, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model; may be given several times.  [default: the shipped "
                   "spam filter and the shipped storyteller]")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST",
              help="Address to listen on. There is no login: whoever reaches it can use it.")
@click.option("--port", type=NonNegativeInt(65_535), default=8000, show_default=True,
              help="Port to listen on; 0 takes one that is free.")
@click.option("--allow-host", multiple=True, metavar="NAME",
              help="A name under which it is reached, through a proxy or otherwise; may be given several times. "
                   "Requests for other names are refused.")
@click.option("--time-limit", type=PositiveFloat(86_400), default=60.0, show_default=True, metavar="SECONDS",
              help="Longest time for an answer.")
@common_options
def command(model: Sequence[str], host: str, port: int, allow_host: Sequence[str], time_limit: float) -> None:
    """Classify, generate and chat in the browser, and by a JSON API.

    It serves until Ctrl-C. docs/serve.md describes the API, and so does /openapi.json.
    """
    try:
        from tinygrad_gpt.serve.app import Limits
        from tinygrad_gpt.serve.models import load_models
        from tinygrad_gpt.serve.server import Server, listening
    except ModuleNotFoundError as error:
        raise UsageError(f"cannot serve ({error.name}): it is not installed; pip install 'tinygrad-gpt[serve]'"
                         ) from None
    _log_in_lines(click.get_current_context().ensure_object(Settings).debug)
    with listening(host, port) as listener:
        if not listener.is_local:
            note(f"warning: --host {host}: there is no login and no encryption; everyone who reaches "
                 f"{socket.gethostname()} there can use the models")

        served = load_models(model)

        def ready() -> None:
            echo(f"serving {', '.join(served.by_name)} at {listener.url}")
            note("Ctrl-C ends it")

        Server(listener, served, Limits(seconds=time_limit), ready, allow_host).answer()


class _Lines(logging.Handler):
    """Log records as one line each; with ``debug``, behind their traceback."""

    def __init__(self, debug: bool):
        super().__init__(logging.WARNING)
        self.debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if self.debug and error is not None:
            for line in "".join(traceback.format_exception(error)).splitlines():
                note(line)
        note(f"server: {record.getMessage()}" + (f": {type(error).__name__}: {error}" if error is not None else ""))


def _log_in_lines(debug: bool) -> None:
    for name in ("tinygrad_gpt.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Lines(debug)], False
