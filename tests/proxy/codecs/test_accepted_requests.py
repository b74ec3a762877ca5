"""What real agents send is taken: unknown fields, odd roles and parts, and histories poisoned by failures."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from proxy.codecs.openai_request import decode_request
from proxy.conversation.message import Message, PastCall
from proxy.conversation.request import ChatRequest, ToolChoice, ToolMode
from proxy.http.logs import RequestIdFilter
from proxy.upstreams.scripted import Script
from tests.proxy.conftest import Stage
from tests.proxy.requests import HOPELESS_CALL, TOOLS, body, user


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps(body(**fields)).encode()).request


def decode_message(**fields: Any) -> Message:
    request = decode_request(json.dumps({"messages": [fields]}).encode()).request
    return request.messages[0]


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}, **fields}


# What agents send back after a malformed call: one history for each shape.
POISONED: dict[str, dict[str, Any]] = {
    "invalid_json": {"role": "assistant", "content": None, "tool_calls": [call('{"a": ')]},
    "empty_object": {"role": "assistant", "content": None, "tool_calls": [call("{}")]},
    "empty_text": {"role": "assistant", "content": "", "tool_calls": [call("")]},
    "null_arguments": {"role": "assistant", "tool_calls": [call(None)]},
    "object_arguments": {"role": "assistant", "tool_calls": [call({"a": 1})]},
    "array_arguments": {"role": "assistant", "tool_calls": [call([1, 2])]},
    "number_arguments": {"role": "assistant", "tool_calls": [call("5")]},
    "unparsed_input": {"role": "assistant", "tool_calls": [call('{"__unparsedToolInput": "{\\"a\\""}')]},
    "invalid_marker": {"role": "assistant", "tool_calls": [call('{"INVALID_JSON": "x"}')]},
    "error_object": {"role": "assistant", "tool_calls": [call({"error": {"message": "bad"}})]},
    "null_id": {"role": "assistant", "tool_calls": [call("{}", id=None)]},
    "no_type": {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f"}}]},
    "nameless": {"role": "assistant", "tool_calls": [{"function": {"name": "", "arguments": "{}"}}]},
    "custom_call": {
        "role": "assistant",
        "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "x"}}],
    },
    "empty_calls": {"role": "assistant", "content": "x", "tool_calls": []},
    "null_calls": {"role": "assistant", "content": "x", "tool_calls": None, "function_call": None},
    "legacy_call": {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    "empty_assistant": {"role": "assistant", "content": ""},
    "null_assistant": {"role": "assistant", "content": None},
    "bare_assistant": {"role": "assistant"},
    "no_parts": {"role": "assistant", "content": []},
    "refusal": {"role": "assistant", "content": None, "refusal": "no"},
    "null_tool_result": {"role": "tool", "tool_call_id": "c1", "content": None},
    "object_tool_result": {"role": "tool", "tool_call_id": "c1", "content": {"error": "x"}},
    "tool_result_without_id": {"role": "tool", "content": "x"},
    "function_result": {"role": "function", "name": "f", "content": "x"},
    "image_result": {
        "role": "tool",
        "tool_call_id": "c1",
        "content": [{"type": "image_url", "image_url": {}}],
    },
    "developer": {"role": "developer", "content": "be brief"},
    "late_system": {"role": "system", "content": [{"type": "text", "text": "x", "cache_control": {}}]},
    "unknown_role": {"role": "critic", "content": "x"},
    "unknown_part": {"role": "user", "content": [{"type": "hologram", "data": 1}]},
    "text_parts": {"role": "user", "content": ["a", {"text": "b"}, {"type": "input_text", "text": "c"}]},
    "extra_keys": {"role": "user", "content": "x", "name": "me", "cache_control": {"type": "ephemeral"}},
    "half_emoji": {"role": "user", "content": "\ud83d"},
    "nul": {"role": "user", "content": "a\0b"},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("poison", POISONED.values(), ids=POISONED)
def test_a_poisoned_history_is_served(stage: Stage, poison: dict[str, Any], stream: bool) -> None:
    messages = [user("first"), poison, user("go on"), {"role": "assistant", "content": ""}]
    sent = {"model": "scripted", "messages": messages, "tools": TOOLS, "stream": stream}
    response = stage.server.post(json.dumps(sent).encode())
    assert response.status_code == 200, response.text


UNKNOWN: dict[str, dict[str, Any]] = {
    "fields": {
        "store": False,
        "metadata": {"user_id": "x"},
        "frobnicate": [1],
        "user": "me",
        "verbosity": "low",
    },
    "tool_types": {"tools": [*TOOLS, {"type": "web_search"}, {"type": "namespace", "tools": [{}]}]},
    "only_unknown_tools": {"tools": [{"type": "web_search"}], "tool_choice": "auto"},
    "null_everything": dict.fromkeys(
        "tools tool_choice stop seed temperature top_p max_tokens stream_options logit_bias n stream".split()
    ),
    "no_model": {"model": None},
    "alias": {"model": "default"},
    "far_too_many_tokens": {"max_tokens": 65536},
    "no_limit": {"max_tokens": -1},
    "whole_float": {"max_tokens": 100.0},
    "json_schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    },
    "json_object": {"response_format": {"type": "json_object"}},
    "one_choice": {"n": 1, "logprobs": False, "top_logprobs": 0},
    "extensions": {
        "top_k": 5,
        "min_p": 0.1,
        "seed": 3,
        "repetition_penalty": 1.1,
        "ignore_eos": False,
        "chat_template_kwargs": {"enable_thinking": False, "tokenize": True},
        "reasoning_effort": "low",
    },
    "same_tool_twice": {"tools": [TOOLS[0], TOOLS[0]]},
    "tool_without_parameters": {"tools": [{"type": "function", "function": {"name": "f", "strict": None}}]},
    "flat_tool": {"tools": [{"type": "function", "name": "f", "parameters": {}}]},
    "functions": {"functions": [{"name": "f"}], "function_call": "auto"},
    "allowed_tools": {
        "tools": TOOLS,
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [{"type": "function", "function": {"name": "get_time"}}],
            },
        },
    },
}


@pytest.mark.parametrize("fields", UNKNOWN.values(), ids=UNKNOWN)
def test_what_agents_add_is_accepted(stage: Stage, fields: dict[str, Any]) -> None:
    response = stage.server.post(body(**fields))
    assert response.status_code == 200, response.text
    assert response.json()["model"] == "scripted"


def test_a_body_with_a_byte_order_mark(stage: Stage) -> None:
    sent = b"\xef\xbb\xbf" + json.dumps(body()).encode()
    assert stage.server.post(sent).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions?beta=true", "/v1//chat/completions/"],
)
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer x"}, {"x-api-key": "y"}, {"openai-beta": "z"}], ids=str
)
def test_any_base_url_and_any_key_will_do(stage: Stage, path: str, headers: dict[str, str]) -> None:
    response = httpx.post(stage.server.root + path, json=body(), headers=headers)
    assert response.status_code == 200


def test_the_request_id_comes_back(stage: Stage) -> None:
    assert stage.server.post(body(), {"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    ids = {stage.server.post(body(), {"x-request-id": "two words"}).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2, "an unusable id is replaced"


def test_each_log_line_names_its_request(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.playbook.scripts["broken call"] = Script((HOPELESS_CALL,))
    caplog.handler.addFilter(RequestIdFilter())
    with caplog.at_level(logging.INFO, "proxy"):
        ids = [
            stage.server.post(body("broken call", tools=TOOLS), headers).headers["x-request-id"]
            for headers in ({"x-request-id": "mine-7"}, {})
        ]
    told = [record.__dict__["request_id"] for record in caplog.records if record.name.endswith("record_log")]
    assert told == ids
    assert ids[0] == "mine-7"


def test_content_parts_become_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}, "b"]
    assert decode_message(role="user", content=parts).in_words().text == (
        "a\n[image_url omitted: this model reads text only]\nb"
    )
    cut = [{"type": "text", "text": "one "}, {"type": "text", "text": "answer"}]
    assert decode_message(role="assistant", content=cut).text == "one answer"


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert decode_message(role="user", content="x\ud83d").text == "x\ufffd"
    assert decode_message(role="user", content="\U0001f600").text == "\U0001f600"


def test_thinking_is_kept_apart() -> None:
    parts = [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "a"}]
    thought = decode_message(role="assistant", content=parts)
    assert (thought.text, thought.reasoning) == ("a", "hm")
    assert decode_message(role="assistant", content="a", reasoning_content="hm").reasoning == "hm"


def test_calls_keep_their_arguments_as_sent() -> None:
    sent = decode_message(role="assistant", content=None, tool_calls=[call('{"a" :1'), call({"b": "ä"})])
    assert sent.calls == (PastCall("c1", "f", '{"a" :1'), PastCall("c1", "f", '{"b": "ä"}'))
    assert decode_message(**POISONED["custom_call"]).calls == (PastCall("", "f", '{"input": "x"}'),)


CHOICES: list[tuple[Any, ToolChoice]] = [
    (None, ToolChoice()),
    ("auto", ToolChoice()),
    ("none", ToolChoice(ToolMode.none)),
    ("required", ToolChoice(ToolMode.required)),
    ("any", ToolChoice(ToolMode.required)),
    ({"type": "function", "function": {"name": "get_time"}}, ToolChoice(ToolMode.named, "get_time")),
    ({"type": "function", "name": "get_time"}, ToolChoice(ToolMode.named, "get_time")),
    ({"type": "required"}, ToolChoice(ToolMode.required)),
]


@pytest.mark.parametrize(("sent", "expected"), CHOICES, ids=str)
def test_tool_choice(sent: Any, expected: ToolChoice) -> None:
    assert decode(tools=TOOLS, tool_choice=sent).tool_choice == expected


def test_allowed_tools_limits_the_tools() -> None:
    request = decode(**UNKNOWN["allowed_tools"])
    assert [tool.name for tool in request.tools] == ["get_time"]


def test_the_schema_of_the_answer_arrives() -> None:
    assert decode(**UNKNOWN["json_schema"]).answer_schema == {"type": "object"}
    assert decode(**UNKNOWN["json_object"]).answer_schema is None


def test_sampling_fields_arrive() -> None:
    sampling = decode(
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        stop="END",
        seed=-1,
        max_completion_tokens=9,
        logit_bias={"3": -2},
    ).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.stop) == (0.5, 0.9, 0, ("END",))
    assert (sampling.seed, sampling.max_tokens, sampling.logit_bias) == (-1, 9, {3: -2.0})
    assert decode().sampling.temperature is None


def test_template_options_cannot_replace_the_conversation() -> None:
    options = decode(chat_template_kwargs={"messages": [], "self": 1, "flavour": "x"}, enable_thinking=True)
    assert dict(options.template_options) == {"flavour": "x", "enable_thinking": True}


# parameters, and the place that is named as not validated; none where there is one meaning
SLOPPY: list[tuple[dict[str, Any], str]] = [
    ({"type": "OBJECT", "properties": {"a": {"type": "STRING", "required": True}}}, ""),
    ({"type": "objekt"}, "/type"),
    ({"type": "object", "required": "x"}, "/required"),
    ({"properties": {"a": {"$ref": "#/$defs/nowhere"}}}, "/properties/a/$ref"),
    ({"properties": {"a": {"$ref": "https://example.test/\u00e4.json"}}}, "/properties/a/$ref"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "/$ref"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("parameters", "place"), SLOPPY, ids=[place or "one_meaning" for _, place in SLOPPY])
def test_one_sloppy_tool_stops_nothing(
    stage: Stage, parameters: dict[str, Any], place: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sloppy = {"type": "function", "function": {"name": "sloppy", "parameters": parameters}}
    stage.playbook.scripts["sloppy"] = Script((HOPELESS_CALL,))
    with caplog.at_level(logging.WARNING, "proxy"):
        response = stage.server.post(body("sloppy", tools=[*TOOLS, sloppy], stream=stream))
    assert response.status_code == 200
    comment = response.text.partition("\n: x-fortieth-warning: ")[2].partition("\n")[0]
    warning = comment if stream else response.headers.get("x-fortieth-warning", "")
    assert warning.startswith(f"not validated: sloppy: {place}: " if place else "")
    assert bool(warning) == bool(place)
    verdict = "failed" if not stream else "x-fortieth-verdict: failed"
    assert verdict in (response.headers["x-fortieth-verdict"] if not stream else response.text), "others are"
    assert ("not validated: sloppy" in caplog.text) == bool(place) or stream, "the log hears of it once"
