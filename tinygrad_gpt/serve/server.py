"""A listening address, and the server that answers there until it is told to stop."""

import contextlib
import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinygrad_gpt.errors import TinygradError, UsageError
from tinygrad_gpt.serve.app import Limits, make_app
from tinygrad_gpt.serve.models import Models
from tinygrad_gpt.serve.worker import Worker

__all__ = ["Listener", "Server", "listening"]

CONNECTIONS = 512  # beyond which uvicorn itself answers 503
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
REMEDIES = {errno.EADDRINUSE: "stop the program that uses it, or give another --port",
            errno.EACCES: "give a --port above 1023"}
OPENING = 10.0  # seconds for the header of the first request on a connection
GRACE = 1  # seconds for answers that are under way when the server is told to stop


class Listener:
    """An address that is taken, but does not answer yet.

    Args:
        host: a name or an address.
        connection: the socket.

    Attributes:
        url: of its page.
        is_local: whether only programs on this machine reach it.
    """

    def __init__(self, host: str, connection: socket.socket):
        self.host, self.connection = host, connection
        address, port = connection.getsockname()[:2]
        self.is_local = ipaddress.ip_address(address.partition("%")[0]).is_loopback
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[Listener]:
    """Take an address.

    Args:
        host: a name or an address of this machine.
        port: 0: any that is free.

    Raises:
        UsageError: "cannot serve (nowhere:8000): …": the name is not known.
        TinygradError: "cannot serve (127.0.0.1:8000): address already in use; …", or it may not be used.
    """
    if not host:
        raise UsageError(f"cannot serve (:{port}): the host is empty; give an address of this machine, 0.0.0.0 for all")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                                flags=socket.AI_PASSIVE)[0]
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise UsageError(f"cannot serve ({host}:{port}): {why}; give an address of this machine") from None
    with socket.socket(family, kind, protocol) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            connection.bind(address)
        except OSError as error:
            raise TinygradError(f"cannot serve ({host}:{port}): {(error.strerror or str(error)).lower()}; "
                                f"{REMEDIES.get(error.errno or 0, 'give an address of this machine')}") from None
        yield Listener(host, connection)


class _Connection(H11Protocol):
    """uvicorn's connection, closed if no request begins on it: those that say nothing would use up all there may be."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(OPENING, self._close_unless_begun)

    def _close_unless_begun(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server with the application in it.

    Args:
        listener: where it answers.
        models: what it serves.
        limits: of a request.
        ready: called when it answers.
        names: under which it may be addressed, beside its addresses, localhost and the listener's host.
    """

    def __init__(self, listener: Listener, models: Models, limits: Limits, ready: Callable[[], None],
                 names: Sequence[str] = ()):
        self.listener, self.ready, self.worker = listener, ready, Worker()
        app = make_app(models, self.worker, limits, names=(listener.host, *names))
        super().__init__(uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", http=_Connection, ws="none", server_header=False,
            date_header=False, limit_concurrency=CONNECTIONS, backlog=CONNECTIONS, timeout_graceful_shutdown=GRACE))

    def answer(self) -> None:
        """Answer requests until `should_exit` is set, or a signal arrives, which is raised behind the last answer."""
        try:
            self.run([self.listener.connection])
        finally:
            self.worker.close()
            self.worker.join(0.5)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on what ends any command, a closed terminal included; what the caller ignores stays ignored.

        uvicorn's own method leaves SIGHUP to handlers that raise an exception inside the event loop, which then waits.
        """
        received: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            received.append(number)
            self.should_exit = True
            self.force_exit = len(received) > 1

        previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            previous = {number: signal.signal(number, stop) for number in STOPS
                        if signal.getsignal(number) is not signal.SIG_IGN}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)  # the handler of the command line ends the process with its line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.worker.close()  # first, so that no answer waits for a text to be finished
        await super().shutdown(sockets)
