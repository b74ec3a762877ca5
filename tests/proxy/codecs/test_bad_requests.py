"""Whatever is sent, the answer is a clear 4xx in OpenAI's shape, and the server still serves."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from tests.proxy.conftest import Stage
from tests.proxy.requests import TOOLS, body


def tool(parameters: Any, name: Any = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def message(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [fields]}


# id -> (body, the field named in `param`, a part of the message)
BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no_messages": ({"model": "scripted"}, "messages", "got nothing"),
    "empty_messages": ({"model": "scripted", "messages": []}, "messages", "at least one"),
    "messages_text": ({"model": "scripted", "messages": "hi"}, "messages", 'got string "hi"'),
    "message_text": ({"model": "scripted", "messages": ["hi"]}, "messages[0]", "expected an object"),
    "no_role": (message(content="hi"), "messages[0].role", "got nothing"),
    "role_number": (message(role=1, content="hi"), "messages[0].role", "got number 1"),
    "content_number": (message(role="user", content=5), "messages[0].content", "got number 5"),
    "content_boolean": (message(role="user", content=True), "messages[0].content", "got true"),
    "part_number": (message(role="user", content=[5]), "messages[0].content[0]", "got number 5"),
    "part_text_null": (
        message(role="user", content=[{"type": "text", "text": None}]),
        "messages[0].content[0].text",
        "got null",
    ),
    "calls_text": (
        message(role="assistant", content="", tool_calls="f"),
        "messages[0].tool_calls",
        "expected an array",
    ),
    "call_without_function": (
        message(role="assistant", tool_calls=[{"id": "x"}]),
        "messages[0].tool_calls[0].function",
        "expected an object",
    ),
    "model_number": ({"model": 5, "messages": [{"role": "user", "content": "x"}]}, "model", "got number 5"),
    "stream_text": (body(stream="yes"), "stream", 'got string "yes"'),
    "stop_numbers": (body(stop=[1]), "stop[0]", "got number 1"),
    "stop_number": (body(stop=7), "stop", "got number 7"),
    "too_many_stops": (body(stop=["x"] * 65), "stop", "at most 64"),
    "temperature_text": (body(temperature="hot"), "temperature", 'got string "hot"'),
    "temperature_high": (body(temperature=3), "temperature", "must be in [0, 2], got 3"),
    "temperature_huge": (body(temperature=10**400), "temperature", "must be in [0, 2]"),
    "temperature_boolean": (body(temperature=True), "temperature", "got true"),
    "top_p_high": (body(top_p=1.7), "top_p", "must be in [0, 1], got 1.7"),
    "top_k_negative": (body(top_k=-2), "top_k", "got -2"),
    "top_k_huge": (body(top_k=10**30), "top_k", "must be in"),
    "min_p_high": (body(min_p=2), "min_p", "got 2"),
    "seed_text": (body(seed="x"), "seed", "expected an integer"),
    "seed_huge": (body(seed=2**70), "seed", "must be in"),
    "max_tokens_zero": (body(max_tokens=0), "max_tokens", "got 0"),
    "max_tokens_text": (body(max_tokens="9"), "max_tokens", "expected an integer"),
    "max_tokens_half": (body(max_completion_tokens=1.5), "max_completion_tokens", "got number 1.5"),
    "penalty_high": (body(presence_penalty=9), "presence_penalty", "got 9"),
    "repetition_zero": (body(repetition_penalty=0), "repetition_penalty", "above 0"),
    "bias_list": (body(logit_bias=[1]), "logit_bias", "expected an object"),
    "bias_name": (body(logit_bias={"x": 1}), "logit_bias", 'got string "x"'),
    "bias_text": (body(logit_bias={"5": "x"}), "logit_bias.5", 'got string "x"'),
    "bias_high": (body(logit_bias={"5": 101}), "logit_bias.5", "got 101"),
    "bias_endless_id": (body(logit_bias={"9" * 60: 1}), "logit_bias", "token ids"),
    "n_many": (body(n=17), "n", "must be in [1, 16], got 17"),
    "n_text": (body(n="1"), "n", "expected an integer"),
    "logprobs_text": (body(logprobs="yes"), "logprobs", "expected a boolean"),
    "top_logprobs_many": (body(logprobs=True, top_logprobs=21), "top_logprobs", "must be in [0, 20], got 21"),
    "top_logprobs_alone": (body(top_logprobs=2), "top_logprobs", "needs logprobs: true"),
    "no_time": (body(timeout_s=0), "timeout_s", "must be above 0, got 0"),
    "time_text": (body(timeout_s="long"), "timeout_s", "expected a number"),
    "json_schema_text": (
        body(response_format={"type": "json_schema", "json_schema": {"schema": "x"}}),
        "response_format.json_schema.schema",
        "expected an object",
    ),
    "tools_object": (body(tools={}), "tools", "expected an array"),
    "tool_text": (body(tools=["f"]), "tools[0]", "expected an object"),
    "tool_empty": (body(tools=[{"type": "function"}]), "tools[0].function", "got nothing"),
    "tool_nameless": (
        body(tools=[{"type": "function", "function": {}}]),
        "tools[0].function.name",
        "nothing",
    ),
    "tool_name_empty": (body(tools=[tool({}, "")]), "tools[0].function.name", "must not be empty"),
    "schema_text": (body(tools=[tool("x")]), "tools[0].function.parameters", "expected an object"),
    "too_many_tools": (body(tools=[tool({}, f"f{i}") for i in range(2000)]), "tools", "2000"),
    "choice_number": (body(tool_choice=1), "tool_choice", "got number 1"),
    "choice_word": (body(tools=TOOLS, tool_choice="sometimes"), "tool_choice", "sometimes"),
    "choice_unknown": (
        body(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "g"}}),
        "tool_choice",
        "get_weather, get_time",
    ),
    "choice_without_tools": (body(tool_choice="required"), "tool_choice", "declares no tools"),
    "template_options_list": (body(chat_template_kwargs=[1]), "chat_template_kwargs", "expected an object"),
    "thinking_text": (body(enable_thinking="yes"), "enable_thinking", "expected a boolean"),
}


def check_error(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    payload = response.json()
    assert payload.keys() == {"error"}
    error: dict[str, Any] = payload["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    return error


def check_alive(stage: Stage) -> None:
    response = stage.server.post(body("still there?"))
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello there."


@pytest.mark.parametrize("case", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_bad_field_is_named(stage: Stage, case: tuple[dict[str, Any], str, str]) -> None:
    sent, param, words = case
    error = check_error(stage.server.post(sent), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]
    check_alive(stage)


BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "garbage": bytes(range(256)) * 4096,
    "spaces": b" " * (1 << 20),
    "not_json": b"{'model': 'scripted'}",
    "cut": json.dumps(body()).encode()[:-5],
    "two_values": json.dumps(body()).encode() * 2,
    "array": b"[]",
    "null": b"null",
    "text": b'"hello"',
    "bad_utf8": b'{"model": "\xff\xfe"}',
    "utf16": json.dumps(body()).encode("utf-16"),
    "nan": b'{"temperature": NaN}',
    "infinity": b'{"temperature": 1e999}',
    "endless_number": b'{"seed": ' + b"9" * 100_000 + b"}",
    "deep_arrays": b"[" * 500_000,
    "deep_objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep_tools": json.dumps(body(tools=None)).encode()[:-1]
    + b', "tools": '
    + b"[" * 150
    + b"]" * 150
    + b"}",
    "nul_bytes": b"\0" * 1000,
}


@pytest.mark.parametrize("sent", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_a_400(stage: Stage, sent: bytes) -> None:
    check_error(stage.server.post(sent), 400)
    check_alive(stage)


def test_an_oversize_body_is_a_413(stage: Stage) -> None:
    error = check_error(stage.server.post(b"x" * (5 * 1024 * 1024)), 413)
    assert "4194304" in error["message"]
    check_alive(stage)


def test_an_endless_body_is_cut_off(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.server.port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n"
        )
        sent = 0
        try:
            while sent < 100 * 1024 * 1024:
                sent += connection.send(b"x" * 65536)
        except OSError:
            pass
    assert sent < 100 * 1024 * 1024
    check_alive(stage)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nowhere", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v2/chat/completions", 404),
    ],
)
def test_unknown_routes_have_the_same_error_shape(stage: Stage, method: str, path: str, status: int) -> None:
    check_error(httpx.request(method, stage.server.root + path), status)


def test_a_recursive_schema_is_no_error(stage: Stage) -> None:
    node = {
        "type": "object",
        "properties": {"value": {"type": "string"}, "next": {"$ref": "#/$defs/node"}},
        "required": ["value"],
    }
    parameters = {
        "type": "object",
        "properties": {"list": {"$ref": "#/$defs/node"}},
        "$defs": {"node": node},
    }
    assert stage.server.post(body(tools=[tool(parameters)])).status_code == 200
