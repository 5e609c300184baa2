"""The description fits the application: its paths, its fields, and every example in it."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
from tinygrad_gpt.serve.bodies import Chat, Classify, Generate, read
from tinygrad_gpt.serve.openapi import description

DOCUMENT = description()
SCHEMAS = DOCUMENT["components"]["schemas"]


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from references(part)


def test_every_reference_leads_to_a_schema():
    used = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert used == set(SCHEMAS)


def test_it_is_what_the_application_answers(client):
    assert client.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENT))
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    routes = {(route.path, method) for route in client.app.routes for method in route.methods - {"HEAD"}}
    assert routes - described == {(path, "GET") for path in ("/", "/page.css", "/page.js", "/openapi.json")}
    assert described <= routes


def test_the_page_of_the_documentation_has_the_same_addresses_statuses_and_fields():
    page = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    addresses = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert {(path, method) for method, path in re.findall(r"`(GET|POST) (\S+)`", page)} == {
        *addresses, ("/openapi.json", "GET")}
    statuses = {status for methods in DOCUMENT["paths"].values() for operation in methods.values()
                for status in operation["responses"]} - {"200"}
    told = re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", page, flags=re.MULTILINE)
    assert {status for cell in told for status in cell.split(", ")} == {*statuses, "405"}
    for kind in (Classify, Generate, Chat):
        assert [name for name in kind.model_fields if f"`{name}`" not in page] == []


@pytest.mark.parametrize("kind", [Classify, Generate, Chat])
def test_the_examples_are_requests(kind):
    schema = SCHEMAS[kind.__name__]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(kind.model_fields)
    body = {name: schema["properties"][name]["examples"][0] for name in schema["required"]}
    assert read(kind, json.dumps(body).encode()).model_dump(include=body.keys()) == body


@pytest.mark.parametrize(("path", "body"), [
    ("/api/classify", {"texts": ["ice ski"], "explain": True}), ("/api/generate", {"prompt": "bug"}),
    ("/api/chat", {"messages": [{"role": "user", "content": "bug"}]}), ("/api/models", None), ("/health", None),
])
def test_answers_have_the_described_fields(client, path, body):
    ((method, told),) = DOCUMENT["paths"][path].items()
    answer = client.post(path, json=body) if method == "post" else client.get(path)
    schema = SCHEMAS[told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    assert set(schema["required"]) <= set(answer.json()) <= set(schema["properties"])
