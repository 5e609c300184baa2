"""What every request passes, and every answer: whom the server talks to, and what a browser may do with its page."""

import ipaddress
import logging
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "LOG", "UNFORESEEN", "Guard", "host_name", "is_trusted"]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                               "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOG = logging.getLogger("tinygrad_gpt.serve")
UNFORESEEN = "cannot answer (server): an error that was not foreseen; the server's log has more about it"


def host_name(host: str) -> str:
    """The name in a Host header, in lower case, without its port and the brackets of an IPv6 address."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def is_trusted(host: str, names: Collection[str]) -> bool:
    """Whether a Host header may come from a page of this server: it is an address, localhost, or one of the names.

    A page of another site that points its own name at this machine (DNS rebinding) sends that name. An address cannot
    be pointed elsewhere.
    """
    name = host_name(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name in names
    return True


class Guard:
    """Middleware: refuses foreign hosts and pages, adds headers, and turns what was not foreseen into one line.

    Args:
        app: what is guarded.
        names: under which the server may be addressed, beside its addresses.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()):
        self.app, self.names = app, frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if refusal := self._refusal(scope):
            await JSONResponse({"error": refusal[1]}, refusal[0])(scope, receive, guarded)
            return
        try:
            await self.app(scope, receive, guarded)
        except Exception as error:
            LOG.error("%s %s", scope["method"], ascii(scope["path"][:80])[1:-1], exc_info=error)
            if not begun:
                await JSONResponse({"error": UNFORESEEN}, 500)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, if the request is refused."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not is_trusted(host, self.names):
            return 421, (f"wrong host ({ascii(host[:60])[1:-1]}): this server is not known by that name; use its "
                         "address, or start it with --allow-host NAME")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and origin.partition("://")[2] != host:
            return 403, (f"foreign page ({ascii(origin[:60])[1:-1]}): only this server's own page may send requests "
                         "from a browser; open that one")
        return None
