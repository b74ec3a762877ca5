"""An answer that is to be JSON: `valid` is said of what was checked, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from proxy.conversation.events import Finish, FinishReason, Usage, total
from proxy.upstreams.scripted import Script
from tests.proxy.conftest import Stage
from tests.proxy.live import LiveServer
from tests.proxy.requests import CALL, TOOLS, body, user

# A schema of which nothing can be checked -> a part of what is said of it.
UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "type": ({"type": "strng"}, "strng"),
    "type_number": ({"type": 5, "title": "Answer"}, "5"),
    "reference": ({"$ref": "#/$defs/nowhere", "$defs": {"other": {}}}, "nowhere"),
    "elsewhere": ({"$ref": "https://example.com/schema.json"}, "example.com"),
    "loop": ({"$ref": "#"}, "loop"),
}


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "name": "answer", "schema": schema}


# dialect -> its path, the fields that ask for JSON, and what its errors call the place
ROUTES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "chat": ("/chat/completions", lambda schema: {"response_format": _named(schema)}, "response_format"),
    "responses": ("/responses", lambda schema: {"text": {"format": _flat(schema)}}, "text.format"),
    "messages": (
        "/messages",
        lambda schema: {"output_config": {"format": _flat(schema)}, "max_tokens": 5},
        "output_config.format",
    ),
    "ollama": ("/../api/chat", lambda schema: {"format": schema}, "format"),
}


def post(server: LiveServer, path: str, fields: dict[str, Any], text: str = "hi") -> httpx.Response:
    return httpx.post(server.base_url + path, json={**body(text), "input": text, **fields})


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_schema_that_cannot_be_used_is_a_400(stage: Stage, name: str, route: str) -> None:
    schema, words = UNUSABLE[name]
    path, place, field = ROUTES[route]
    played = len(stage.upstream.played)
    response = post(stage.server, path, place(schema))
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith(field)
    assert "not a usable JSON Schema" in message
    assert words in message
    assert len(stage.upstream.played) == played, "the model is not asked"


@pytest.fixture
def said(stage: Stage) -> Iterator[Any]:
    def answer(text: str, schema: dict[str, Any], **fields: Any) -> httpx.Response:
        stage.playbook.scripts["json"] = Script((text,))
        path, place, _ = ROUTES["chat"]
        return post(stage.server, path, {**place(schema), **fields}, "json")

    yield answer
    stage.playbook.scripts.pop("json", None)


PARTLY = {"type": "object", "properties": {"a": {"type": "strng"}, "b": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("text", "schema", "told"),
    [
        ('{"b": 1}', {"type": "object", "required": ["b"]}, "valid"),
        ('{"a": 1}', {"type": "object", "required": ["b"]}, "invalid"),
        ('{"a": 1', {}, "invalid"),
        ("5", {}, "valid"),
        ('{"b": 1}', PARTLY, None),
        ('{"b": "x"}', PARTLY, "invalid"),
        ('{"b": 1}', {"type": "OBJECT", "required": ["b"]}, "valid"),
    ],
    ids=["fits", "does not", "no json", "any json", "partly checked", "partly wrong", "one meaning"],
)
def test_valid_is_what_was_checked(said: Any, text: str, schema: dict[str, Any], told: str | None) -> None:
    whole = said(text, schema)
    streamed = said(text, schema, stream=True).text
    assert whole.headers.get("x-fortieth-answer") == told
    assert (f"; answer={told}" in streamed) if told else ("; answer=" not in streamed)
    warned = "x-fortieth-warning" in whole.headers
    assert warned == (schema is PARTLY)
    if warned:
        assert whole.headers["x-fortieth-warning"].startswith("not validated: the answer's schema: /")


def test_a_call_in_place_of_the_answer_is_not_called_valid(said: Any) -> None:
    response = said(CALL, {"type": "object"}, tools=TOOLS)
    assert response.json()["choices"][0]["finish_reason"] == "tool_calls"
    assert "x-fortieth-answer" not in response.headers


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([True, True], True),
        ([True, False], False),
        ([None, False], False),
        ([True, None], None),
        ([None], None),
    ],
)
def test_of_several_answers_all_must_be_valid(found: list[bool | None], told: bool | None) -> None:
    finishes = [Finish(FinishReason.stop, Usage(), answer_valid=one) for one in found]
    assert total(finishes).answer_valid is told


def test_log_probabilities_are_null_where_there_are_none(stage: Stage) -> None:
    """As where the upstream gives none, and of an answer that is a call."""
    fields = {"logprobs": True, "top_logprobs": 2}
    for text in ("plain", CALL):
        stage.playbook.scripts["scores"] = Script((text,))
        asked = {"messages": [user("scores")], "tools": TOOLS, "model": "scripted", **fields}
        choice = stage.server.post(asked).json()["choices"][0]
        assert choice["logprobs"] is None
        assert choice["message"]["refusal"] is None
        streamed = stage.server.post({**asked, "stream": True}).text
        assert '"logprobs":{' not in streamed
        assert '"refusal":null' in streamed
    stage.playbook.scripts.pop("scores")
