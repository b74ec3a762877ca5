"""Whatever is sent, the answer is a clear 4xx in OpenAI's shape that names the field."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from proxy.conversation.errors import Overloaded, UpstreamUnavailable
from proxy.upstreams.scripted import Script
from tests.proxy.codecs.responses import FLAT_TOOLS, body, events, post
from tests.proxy.conftest import Stage


def item(**fields: Any) -> dict[str, Any]:
    return body([fields])


def part(value: Any) -> dict[str, Any]:
    return item(role="user", content=[value])


# id -> (body, the field named in `param`, a part of the message)
BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no_input": ({"model": "scripted"}, "input", "got nothing"),
    "null_input": (body(None), "input", "got null"),
    "number_input": (body(5), "input", "expected a string or an array of items, got number 5"),
    "empty_input": (body([]), "input", "at least one item"),
    "item_text": (body(["hi"]), "input[0]", "expected an object"),
    "item_type": (item(type=5), "input[0].type", "got number 5"),
    "role_number": (item(role=5, content="x"), "input[0].role", "got number 5"),
    "content_number": (item(role="user", content=5), "input[0].content", "got number 5"),
    "part_number": (part(5), "input[0].content[0]", "expected an object, got number 5"),
    "text_null": (part({"type": "input_text", "text": None}), "input[0].content[0].text", "got null"),
    "part_type": (part({"type": []}), "input[0].content[0].type", "an array of 0"),
    "call_name": (item(type="function_call", name=5), "input[0].name", "got number 5"),
    "call_id": (item(type="function_call", name="f", call_id=5), "input[0].call_id", "got number 5"),
    "custom_input": (item(type="custom_tool_call", name="f", input=5), "input[0].input", "got number 5"),
    "output_part": (
        item(type="function_call_output", call_id="c", output=[5]),
        "input[0].output[0]",
        "got number 5",
    ),
    "reference_number": (item(type="item_reference", id=5), "input[0].id", "got number 5"),
    "model_number": ({**body(), "model": 5}, "model", "got number 5"),
    "instructions_number": (body(instructions=5), "instructions", "got number 5"),
    "stream_text": (body(stream="yes"), "stream", 'got string "yes"'),
    "store_text": (body(store="yes"), "store", 'got string "yes"'),
    "tools_text": (body(tools="f"), "tools", "expected an array"),
    "tool_text": (body(tools=["f"]), "tools[0]", "expected an object"),
    "tool_without_name": (body(tools=[{"type": "function"}]), "tools[0].name", "got nothing"),
    "custom_without_name": (body(tools=[{"type": "custom"}]), "tools[0].name", "got nothing"),
    "custom_format": (
        body(tools=[{"type": "custom", "name": "f", "format": 5}]),
        "tools[0].format",
        "got number 5",
    ),
    "group_without_name": (body(tools=[{"type": "namespace", "tools": []}]), "tools[0].name", "got nothing"),
    "group_tool": (
        body(tools=[{"type": "namespace", "name": "g", "tools": [5]}]),
        "tools[0].tools[0]",
        "expected an object",
    ),
    "parameters_text": (
        body(tools=[{"type": "function", "name": "f", "parameters": "x"}]),
        "tools[0].parameters",
        "expected an object",
    ),
    "choice_number": (body(tool_choice=5), "tool_choice", "got number 5"),
    "choice_word": (body(tool_choice="maybe"), "tool_choice", "must be auto, none, required"),
    "choice_unknown": (
        body(tools=FLAT_TOOLS, tool_choice={"type": "function", "name": "f"}),
        "tool_choice",
        "no tool named",
    ),
    "choice_without_name": (
        body(tools=FLAT_TOOLS, tool_choice={"type": "function"}),
        "tool_choice.name",
        "got nothing",
    ),
    "required_without_tools": (body(tool_choice="required"), "tool_choice", "declares no tools"),
    "text_text": (body(text="x"), "text", "expected an object"),
    "format_text": (body(text={"format": "json"}), "text.format", "expected an object"),
    "schema_text": (
        body(text={"format": {"type": "json_schema", "name": "n", "schema": "x"}}),
        "text.format.schema",
        "expected an object",
    ),
    "include_text": (body(include="x"), "include", "expected an array"),
    "metadata_text": (body(metadata="x"), "metadata", "expected an object"),
    "temperature_high": (body(temperature=3), "temperature", "must be in [0, 2], got 3"),
    "top_p_high": (body(top_p=1.7), "top_p", "must be in [0, 1], got 1.7"),
    "limit_zero": (body(max_output_tokens=0), "max_output_tokens", "got 0"),
    "limit_text": (body(max_output_tokens="many"), "max_output_tokens", "expected an integer"),
    "top_logprobs_high": (body(top_logprobs=21), "top_logprobs", "got 21"),
    "conversation": (body(conversation="conv_1"), "conversation", "send its content"),
    "prompt": (body(prompt={"id": "pmpt_1"}), "prompt", "send its content"),
    "previous_number": (body(previous_response_id=5), "previous_response_id", "got number 5"),
    "previous_lost": (body(previous_response_id="resp_x"), "previous_response_id", "'resp_x' not found"),
}


@pytest.mark.parametrize(("sent", "param", "told"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_bad_field_is_named(stage: Stage, sent: dict[str, Any], param: str, told: str) -> None:
    response = post(stage.server, sent)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert told in error["message"]


# id -> (body, a part of the message)
BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON"),
    "cut": (b'{"input": "hi"', "not valid JSON"),
    "array": (b"[]", "must be a JSON object, got an array of 0"),
    "invalid_utf8": (b'{"input": "\xff"}', "not UTF-8"),
    "nan": (b'{"input": "hi", "temperature": NaN}', "not valid JSON"),
    "deep": (b'{"input": ' + b"[" * 5000 + b"]" * 5000 + b"}", "deeper than 100 levels"),
    "form": (b"input=hi", "not valid JSON"),
}


@pytest.mark.parametrize(("sent", "told"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_cannot_be_read(stage: Stage, sent: bytes, told: str) -> None:
    response = post(stage.server, sent)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_json", None)
    assert told in error["message"]


def test_a_lost_response_has_openai_s_code(stage: Stage) -> None:
    error = post(stage.server, body(previous_response_id="resp_x")).json()["error"]
    assert error["code"] == "previous_response_not_found"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Overloaded("full", retry_after_s=2), 429, "rate_limit_exceeded"),
        (UpstreamUnavailable("it died"), 503, "upstream_unavailable"),
    ],
    ids=["busy", "died"],
)
def test_a_refusal_comes_before_the_stream(
    stage: Stage, refusal: Exception, status: int, code: str, stream: bool
) -> None:
    """All but that of a prompt which is too long: test_overflow.py has it."""
    stage.playbook.scripts["refused"] = Script(refusal=refusal)
    response = post(stage.server, body("refused", stream=stream))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, None)
    assert response.headers.get("retry-after") == ("2" if status == 429 else None)


def test_a_model_that_is_not_served(stage: Stage) -> None:
    response = post(stage.server, {**body(), "model": "else"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/responses/resp_x", 404, "not_found"),
        ("DELETE", "/v1/responses/resp_x", 404, "not_found"),
        ("POST", "/v1/responses/resp_x/cancel", 404, "not_found"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/v1/conversations/conv_x", 404, "not_found"),
    ],
)
def test_what_is_not_there(stage: Stage, method: str, path: str, status: int, code: str) -> None:
    response = httpx.request(method, stage.server.root + path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_tokens_are_counted_by_an_engine_only(stage: Stage) -> None:
    url = f"{stage.server.base_url}/responses/input_tokens"
    assert httpx.post(url, json=body()).status_code == 404
    assert httpx.post(url, json=body(5)).json()["error"]["param"] == "input"


def test_the_server_still_serves(stage: Stage) -> None:
    """Last: after all of the above."""
    assert post(stage.server, json.dumps(body()).encode()).json()["status"] == "completed"
    assert events(post(stage.server, body(stream=True)))[-1]["type"] == "response.completed"
