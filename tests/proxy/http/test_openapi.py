"""GET /openapi.json: all routes are in it, it is valid, and what the server answers is documented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from proxy.codecs.registry import CODECS
from proxy.conversation.errors import MethodNotAllowed, RequestError
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.http.health import HealthCheck
from proxy.http.incoming import Bodies
from proxy.http.openapi import ERRORS
from proxy.http.page.feed import Feed
from proxy.http.page.figures import PageSources
from proxy.http.routes import Limits, State, build_routes
from proxy.records.metrics import Metrics, Pace
from proxy.records.session_stats import SessionStats
from tests.proxy.codecs.plain import Plain
from tests.proxy.conftest import Stage
from tests.proxy.live import LoopThread, scripted, serving
from tests.proxy.requests import TOOLS, body, user

METHODS = {"get", "head", "post", "put", "delete", "patch", "options"}


@pytest.fixture(scope="module")
def document(stage: Stage) -> dict[str, Any]:
    answer = httpx.get(stage.server.root + "/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, Any] = answer.json()
    return told


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield method, path, item[method]


def test_every_route_and_method_is_in_it(document: dict[str, Any]) -> None:
    upstream = scripted("hi")
    state = State(
        upstream,
        Guard(upstream, GuardPolicy()),
        HealthCheck(upstream),
        Limits(),
        Bodies(Limits().body),
        (),
        Metrics(None),
        SessionStats(),
        Feed(PageSources(Guard(upstream, GuardPolicy()), Pace(), SessionStats())),
    )
    registered = {
        (method.lower(), re.sub(r":path\}", "}", route.path))
        for route in build_routes(state, CODECS)
        for method in route.methods or ()
    }
    assert len(registered) > 60
    assert {(method, path) for method, path, _ in operations(document)} == registered


def test_it_is_a_valid_document(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} == document["info"].keys()
    ids = [one["operationId"] for _, _, one in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, one in operations(document):
        named = re.findall(r"\{(\w+)\}", path)
        parameters = document["paths"][path].get("parameters", [])
        assert [parameter["name"] for parameter in parameters] == named, path
        assert all(parameter["required"] and parameter["in"] == "path" for parameter in parameters)
        assert "200" in one["responses"], (method, path)
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in one["responses"])
        assert all(reply["description"] and reply["content"] for reply in one["responses"].values())
        for schema in bodies(one):
            jsonschema_rs.meta.validate(schema)
            jsonschema_rs.validator_for({**schema, "components": document["components"]})


def bodies(operation: dict[str, Any]) -> list[dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {})
    return [one["schema"] for one in content.values()]


def test_every_class_of_error_is_given_to_an_operation() -> None:
    """One that is added to the tree has to be given to the operations that can end in it."""
    given = {type(error) for errors in ERRORS.values() for error in errors}
    above = {parent for error in given for parent in error.__mro__}
    missing = {one.__name__ for one in classes(RequestError)} - {one.__name__ for one in given | above}
    # subclasses with a row of their parent's, and what every route has
    assert missing <= {"InternalError", "Unauthorized", "BadBody", "ContextRefused", "ThreadUnsupported"}
    assert MethodNotAllowed in given


def classes(root: type[RequestError]) -> Iterator[type[RequestError]]:
    for one in root.__subclasses__():
        if one.__module__.startswith("proxy."):
            yield one
            yield from classes(one)


ACCEPTED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": body(tools=TOOLS, temperature=0.5, stop=["a"], tool_choice="auto", n=2),
    "/v1/messages": {
        "model": "scripted",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    },
    "/v1/responses": {"model": "scripted", "input": [{"type": "message", "role": "user", "content": "hi"}]},
    "/v1/completions": {"model": "default", "prompt": "hi", "max_tokens": 3},
    "/api/chat": {"model": "scripted", "messages": [user("hi")], "options": {"temperature": 0}},
    "/api/generate": {"model": "scripted", "prompt": "hi", "stream": False},
    "/api/show": {"model": "scripted"},
}


@pytest.mark.parametrize("path", ACCEPTED)
def test_what_is_accepted_is_valid_and_a_wrong_type_is_not(
    path: str, document: dict[str, Any], stage: Stage
) -> None:
    (schema,) = bodies(document["paths"][path]["post"])
    validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
    asked = ACCEPTED[path]
    assert validator.is_valid(asked)
    assert httpx.post(stage.server.root + path, json=asked).status_code == 200
    wrong = {**asked, "model": 5}
    assert not validator.is_valid(wrong)
    assert httpx.post(stage.server.root + path, json=wrong).status_code == 400


def test_dialects_that_share_a_route_are_both_in_it(document: dict[str, Any]) -> None:
    assert "529" in document["paths"]["/v1/messages"]["post"]["responses"]
    assert "application/x-ndjson" in document["paths"]["/api/chat"]["post"]["responses"]["200"]["content"]
    assert "text/plain" in document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    names = [one["name"] for one in document["paths"]["/v1/fortieth/requests"]["get"]["parameters"]]
    assert names == ["limit", "after", "before", "model", "session", "verdict"]
    page = document["paths"]["/"]["get"]
    assert page["security"] == []
    assert page["responses"]["200"]["content"].keys() == {"text/plain", "text/html"}


def test_a_codec_that_describes_nothing_is_in_it_and_the_key_is_asked_for(thread: LoopThread) -> None:
    with serving(scripted("hi"), api_key="k", thread=thread, codecs=(*CODECS, Plain())) as server:
        assert httpx.get(server.root + "/openapi.json").status_code == 401
        told = httpx.get(server.root + "/openapi.json", headers={"x-api-key": "k"}).json()
    assert bodies(told["paths"]["/plain/turn"]["post"]) == [{"type": "object"}]
    assert "get" in told["paths"]["/plain/models/{model_id}"]
    assert told["security"] == [{"bearer": []}, {"key": []}]
    assert told["paths"]["/health"]["get"]["security"] == []
