"""The description of the API in OpenAPI 3.1, made from the fields of requests and answers."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tinygrad_gpt import __version__
from tinygrad_gpt.serve.bodies import Chat, Classified, Classify, Failure, Generate, Health, Served, Written

__all__ = ["description"]

SCHEMAS = "#/components/schemas/"
# Path -> (what it does, its request, its answer).
OPERATIONS: dict[str, tuple[str, type[BaseModel] | None, type[BaseModel]]] = {
    "/api/classify": ("Label texts, and say which words moved each decision", Classify, Classified),
    "/api/generate": ("Continue a text", Generate, Written),
    "/api/chat": ("Answer the last message of a conversation", Chat, Written),
    "/api/models": ("List the models", None, Served),
    "/health": ("Say that the server answers", None, Health),
}
FAILURES = {
    "400": "The request is not what this page describes", "403": "A page of another site sent it",
    "404": "The model is not served", "408": "The request did not arrive in time",
    "413": "The request is too long", "415": "The request is not application/json",
    "421": "The Host header has a name that the server does not know", "500": "A fault of the model or the server",
    "503": "Too much waits already, or the server shuts down; Retry-After says when to come again",
    "504": "The answer took too long",
}


def description() -> dict[str, Any]:
    """The document that /openapi.json serves."""
    used: set[type[BaseModel]] = {Failure}
    for _, request, answer in OPERATIONS.values():
        used |= {answer} if request is None else {request, answer}
    _, schemas = models_json_schema([(model, "validation") for model in sorted(used, key=lambda m: m.__name__)],
                                    ref_template=SCHEMAS + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "tinygrad_gpt", "version": __version__,
                 "description": "Classify, generate and chat with the models of this server. A failure is one line of "
                                "the form WHAT (WHERE): WHY; TRY."},
        "paths": {path: _operation(path, *parts) for path, parts in OPERATIONS.items()},
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(path: str, summary: str, request: type[BaseModel] | None, answer: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": _schema(answer)}
    if answer is Written:
        content["application/x-ndjson"] = _schema(answer)  # one a line, with "stream": true
    told: dict[str, Any] = {"summary": summary, "operationId": path.rpartition("/")[2],
                            "responses": {"200": {"description": "The answer", "content": content}}}
    failures = FAILURES if request else {"421": FAILURES["421"]}
    for status, meaning in failures.items():
        told["responses"][status] = {"description": meaning, "content": {"application/json": _schema(Failure)}}
    if request is None:
        return {"get": told}
    told["requestBody"] = {"required": True, "content": {"application/json": _schema(request)}}
    return {"post": told}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": SCHEMAS + model.__name__}}
