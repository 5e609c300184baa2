"""The application: one page, and a JSON API for the same three tasks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tinygrad_gpt.errors import NonFiniteError, TinygradError
from tinygrad_gpt.recipes.instructions.respond import style_name
from tinygrad_gpt.serve.bodies import (
    Chat,
    Classified,
    Classify,
    Generate,
    Health,
    Model,
    Served,
    Written,
    read,
)
from tinygrad_gpt.serve.guard import LOG, UNFORESEEN, Guard
from tinygrad_gpt.serve.models import Models, UnknownModelError, tasks_of
from tinygrad_gpt.serve.openapi import description
from tinygrad_gpt.serve.tasks import answer, continuation, explanations, reply
from tinygrad_gpt.serve.worker import BusyError, ClosedError, Worker

__all__ = ["Limits", "make_app"]

PAGE = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
        "/page.js": ("page.js", "text/javascript")}
RETRY = {"retry-after": "1"}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Args:
        body: bytes of a request.
        upload: seconds for a request to arrive.
        seconds: until its answer is complete.
    """

    body: int = 256 * 1024
    upload: float = 10.0
    seconds: float = 60.0


class Refused(Exception):
    """A request that gets no answer: a status, a line and headers."""

    def __init__(self, status: int, line: str, headers: dict[str, str] | None = None):
        super().__init__(line)
        self.status, self.headers = status, headers


def make_app(models: Models, worker: Worker, limits: Limits | None = None, names: tuple[str, ...] = ()) -> Starlette:
    """The application as ASGI has it.

    Args:
        models: what it serves.
        worker: its compute thread.
        limits: of a request.
        names: under which the server may be addressed, beside its addresses and localhost.
    """
    api = _Api(models, worker, limits or Limits())
    document = description()
    routes = [
        *(Route(path, _file(*file), methods=["GET"]) for path, file in PAGE.items()),
        Route("/openapi.json", lambda request: JSONResponse(document), methods=["GET"]),
        Route("/health", api.health, methods=["GET"]),
        Route("/api/models", api.models, methods=["GET"]),
        Route("/api/classify", api.classify, methods=["POST"]),
        Route("/api/generate", api.generate, methods=["POST"]),
        Route("/api/chat", api.chat, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, names=names)],
                     exception_handlers={HTTPException: _plain, Refused: _plain, TinygradError: _plain,
                                         MemoryError: _plain, ClientDisconnect: _gone})


class _Api:
    """The handlers of the API."""

    def __init__(self, models: Models, worker: Worker, limits: Limits):
        self.served, self.worker, self.limits = models, worker, limits
        self.sizes = {name: saved.model.summary().size for name, saved in models.by_name.items()}

    async def health(self, request: Request) -> Response:
        return _json(Health(status="ok", **self.worker.load))

    async def models(self, request: Request) -> Response:
        return _json(Served(models=[
            Model(name=name, tasks=list(tasks_of(saved)), labels=list(saved.labels), context=saved.n_ctx,
                  parameters=self.sizes[name], style=style_name(saved))
            for name, saved in self.served.by_name.items()]))

    async def classify(self, request: Request) -> Response:
        body = read(Classify, await self._body(request))
        name, saved = self.served.find("classify", body.model)

        async def answered() -> Classified:
            predicted = await _all(self.worker.classify(saved, body.texts))
            explained: list[Any] = [None] * len(predicted)
            if body.explain:
                explained = [one async for one in self._steps(lambda: explanations(saved, predicted))]
            return Classified(model=name, answers=list(map(answer, predicted, explained)))

        return _json(await self._in_time(request, answered()))

    async def generate(self, request: Request) -> Response:
        body = read(Generate, await self._body(request))
        name, saved = self.served.find("generate", body.model)
        return await self._write(request, body.stream, lambda: continuation(saved, name, body))

    async def chat(self, request: Request) -> Response:
        body = read(Chat, await self._body(request))
        name, saved = self.served.find("chat", body.model)
        return await self._write(request, body.stream, lambda: reply(saved, name, body))

    async def _body(self, request: Request) -> bytes:
        """The bytes of a request that is JSON: a page of another site cannot send that type unasked."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, f"bad request (content-type): it is {kind[:40]!a}; send application/json")
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.upload):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.limits.body:
                        raise Refused(413, f"bad request (body): it is longer than {self.limits.body:,} bytes; send "
                                           "less at once")
        except TimeoutError:
            raise Refused(408, f"bad request (body): it did not arrive within {self.limits.upload:g} seconds; send it "
                               "again") from None
        return bytes(body)

    async def _write(self, request: Request, stream: bool, make: Callable[[], Iterator[Written]]) -> Response:
        """What a model writes, as a whole or as it comes."""
        if not stream:
            async def whole() -> Written:
                pieces = [piece async for piece in self._steps(make)]
                return pieces[-1].model_copy(update={"text": "".join(piece.text for piece in pieces)})

            return _json(await self._in_time(request, whole()))
        end = time.monotonic() + self.limits.seconds
        pieces = self._steps(make)
        first = await self._in_time(request, anext(pieces))  # a failure before it has a status of its own
        return StreamingResponse(self._lines(first, pieces, end), media_type="application/x-ndjson")

    async def _lines(self, first: Written, pieces: AsyncIterator[Written], end: float) -> AsyncIterator[str]:
        """Pieces as lines of JSON, until they or the time end."""
        count, piece = 0, first
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]
            while True:
                count += 1
                yield piece.model_dump_json(exclude_none=True) + "\n"
                try:
                    piece = await asyncio.wait_for(anext(pieces), end - time.monotonic())
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    yield Written(text="", tokens=count, stopped_by="time limit").model_dump_json(
                        exclude_none=True) + "\n"
                    return
                except Exception as error:
                    yield bytes(_failure(error).body).decode() + "\n"
                    return

    async def _steps(self, make: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
        """The steps of a job on the worker; it is cancelled when nobody asks for more."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()
        job = self.worker.start(make, lambda *event: loop.call_soon_threadsafe(queue.put_nowait, event))
        try:
            while (event := await queue.get())[0] == "step":
                yield event[1]
            if event[0] == "error":
                raise event[1]
        finally:
            job.cancel()

    async def _in_time(self, request: Request, work: Awaitable[Result]) -> Result:
        """The result of some work, which is cancelled when the client leaves or the time is over."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_leaving(request))
        try:
            await asyncio.wait((task, gone), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise ClientDisconnect
            raise Refused(504, f"no answer in time (server): it took longer than {self.limits.seconds:g} seconds; send "
                               "less at once, or start the server with a longer --time-limit")
        finally:
            task.cancel()
            gone.cancel()


async def _all(answers: list[Any]) -> list[Any]:
    """The results of the worker's futures; all are cancelled together."""
    return await asyncio.gather(*map(asyncio.wrap_future, answers))


async def _leaving(request: Request) -> None:
    """Until the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(value: BaseModel) -> Response:
    return Response(value.model_dump_json(), media_type="application/json")


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = files("tinygrad_gpt.serve").joinpath("page", name).read_bytes()

    async def handler(request: Request) -> Response:
        return Response(content, media_type=kind)

    return handler


async def _plain(request: Request, error: Exception) -> Response:
    return _failure(error)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def _failure(error: Exception) -> JSONResponse:
    """An error as its status and one line."""
    match error:
        case Refused():
            status, line, headers = error.status, str(error), error.headers
        case HTTPException():
            what = {404: "no such page (address): the server has nothing there",
                    405: "wrong method (address): another is expected there"}
            line = f"{what.get(error.status_code, 'bad request (address): it cannot be answered')}; see /openapi.json"
            status, headers = error.status_code, dict(error.headers or {})
        case BusyError() | ClosedError():
            status, line, headers = 503, str(error), RETRY
        case UnknownModelError():
            status, line, headers = 404, str(error), None
        case MemoryError():
            line = "not enough memory (server): the request needs more than is free; send less at once"
            status, headers = 503, RETRY
        case NonFiniteError():
            status, line, headers = 500, str(error), None
        case TinygradError():
            status, line, headers = 400, str(error), None
        case _:
            LOG.error("an error that was not foreseen", exc_info=error)
            status, line, headers = 500, UNFORESEEN, None
    return JSONResponse({"error": " ".join(line.split())[:400]}, status, headers)
