"""Whatever is sent to /v1/messages, the answer is a clear 4xx in Anthropic's shape, and the server still
serves.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codecs.anthropic import Anthropic
from proxy.conversation.errors import BadRequest, BadTool, ContextTooLong
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.codecs.messages import TOOL, message, send
from tests.proxy.conftest import Stage
from tests.proxy.live import Playbook, serving


def blocks(*content: Any) -> dict[str, Any]:
    return message(messages=[{"role": "user", "content": list(content)}])


# id -> (body, a part of the message, which names the field)
BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no_messages": ({"model": "scripted", "max_tokens": 9}, "messages: expected an array, got nothing"),
    "empty_messages": (message(messages=[]), "messages must hold at least one message"),
    "messages_text": (message(messages="hi"), 'messages: expected an array, got string "hi"'),
    "message_text": (message(messages=["hi"]), "messages[0]: expected an object"),
    "no_role": (message(messages=[{"content": "x"}]), "messages[0].role: expected a string, got nothing"),
    "role_number": (message(messages=[{"role": 1, "content": "x"}]), "messages[0].role"),
    "content_number": (
        message(messages=[{"role": "user", "content": 5}]),
        "messages[0].content: expected a string or an array of blocks, got number 5",
    ),
    "block_number": (blocks(5), "messages[0].content[0]: expected an object, got number 5"),
    "block_type_number": (blocks({"type": 5}), "messages[0].content[0].type"),
    "text_null": (blocks({"type": "text", "text": None}), "messages[0].content[0].text: expected a string"),
    "result_number": (
        blocks({"type": "tool_result", "tool_use_id": "x", "content": 5}),
        "messages[0].content[0].content",
    ),
    "result_id_number": (blocks({"type": "tool_result", "tool_use_id": 5}), "content[0].tool_use_id"),
    "is_error_text": (
        blocks({"type": "tool_result", "tool_use_id": "x", "is_error": "yes"}),
        "messages[0].content[0].is_error: expected a boolean",
    ),
    "image_source_text": (blocks({"type": "image", "source": "x"}), "content[0].source: expected an object"),
    "image_without_data": (
        blocks({"type": "image", "source": {"type": "base64"}}),
        "messages[0].content[0].source.data: expected a string, got nothing",
    ),
    "reference_without_a_name": (blocks({"type": "tool_reference"}), "content[0].tool_name"),
    "call_name_number": (
        message(messages=[{"role": "assistant", "content": [{"type": "tool_use", "name": 5}]}]),
        "messages[0].content[0].name",
    ),
    "system_number": (message(system=5), "system: expected a string or an array of blocks"),
    "system_block_number": (message(system=[5]), "system[0]: expected an object"),
    "model_number": (message(model=5), "model: expected a string, got number 5"),
    "max_tokens_text": (message(max_tokens="9"), "max_tokens: expected an integer"),
    "max_tokens_zero": (message(max_tokens=0), "max_tokens must be in [1,"),
    "stream_text": (message(stream="yes"), 'stream: expected a boolean, got string "yes"'),
    "temperature_high": (message(temperature=3), "temperature must be in [0, 2], got 3"),
    "top_p_text": (message(top_p="x"), "top_p: expected a number"),
    "top_k_negative": (message(top_k=-2), "top_k must be in"),
    "stop_text": (message(stop_sequences="END"), "stop_sequences: expected an array"),
    "stop_number": (message(stop_sequences=[1]), "stop_sequences[0]: expected a string"),
    "too_many_stops": (message(stop_sequences=["x"] * 65), "stop_sequences: at most 64"),
    "stop_long": (message(stop_sequences=["x" * 1025]), "stop_sequences: a string may have 1024"),
    "tools_object": (message(tools={}), "tools: expected an array"),
    "tool_text": (message(tools=["f"]), "tools[0]: expected an object"),
    "tool_without_a_name": (message(tools=[{"input_schema": {}}]), "tools[0].name: expected a string"),
    "schema_text": (message(tools=[{"name": "f", "input_schema": "x"}]), "tools[0].input_schema"),
    "defer_text": (message(tools=[TOOL | {"defer_loading": "y"}]), "tools[0].defer_loading"),
    "choice_text": (message(tools=[TOOL], tool_choice="any"), "tool_choice: expected an object"),
    "choice_unknown": (
        message(tools=[TOOL], tool_choice={"type": "maybe"}),
        'tool_choice.type must be one of auto, any, tool, none, got string "maybe"',
    ),
    "choice_without_a_name": (message(tools=[TOOL], tool_choice={"type": "tool"}), "tool_choice.name"),
    "choice_of_no_tool": (
        message(tools=[TOOL], tool_choice={"type": "tool", "name": "g"}),
        'no tool named string "g" in this request, which declares get_weather',
    ),
    "choice_without_tools": (message(tool_choice={"type": "any"}), "this request declares no tools"),
    "budget_text": (
        message(thinking={"type": "enabled", "budget_tokens": "x"}),
        "thinking.budget_tokens: expected an integer",
    ),
    "format_text": (message(output_config={"format": "json"}), "output_config.format: expected an object"),
    "schema_number": (
        message(output_config={"format": {"type": "json_schema", "schema": 5}}),
        "output_config.format.schema: expected an object",
    ),
}


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_bad_field_is_named(stage: Stage, name: str, path: str) -> None:
    asked, words = BAD_FIELDS[name]
    response = send(stage.server, asked, path)
    assert response.status_code == 400
    error = response.json()
    assert error.keys() == {"type", "error", "request_id"}
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert words in error["error"]["message"]
    assert error["request_id"] == response.headers["request-id"]


BAD_BODIES = {
    "nothing": (b"", 400),
    "no_json": (b"{", 400),
    "array": (b"[]", 400),
    "text": (b'"x"', 400),
    "not_utf8": (b'{"model": "\xff\xfe"}', 400),
    "latin_1": ('{"model": "é"}'.encode("latin-1"), 400),
    "nul": (b"\0\0\0", 400),
    "deep": (b'{"messages":' * 3000, 400),
    "deep_block": (json.dumps(message()).encode()[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    "not_a_number": (b'{"max_tokens": NaN, "messages": []}', 400),
    "huge": (b'{"system": "' + b"x" * (4 * 1024 * 1024) + b'"}', 413),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_cannot_be_read(stage: Stage, name: str) -> None:
    body, status = BAD_BODIES[name]
    response = send(stage.server, body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["type"] == ("invalid_request_error" if status == 400 else "request_too_large")
    assert error["message"]
    assert send(stage.server, message("hello")).json()["content"][0]["text"] == "Hello there."


def test_an_unknown_model(stage: Stage) -> None:
    response = send(stage.server, message(model="claude-next"))
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["type"] == "not_found_error"
    assert error["message"] == "The model `claude-next` does not exist; served here: scripted"
    assert send(stage.server, {"messages": message()["messages"]}).status_code == 200  # the first one served


def test_a_context_that_is_too_long_in_the_words_by_which_clients_compact(stage: Stage) -> None:
    stage.playbook.scripts["long"] = Script(refusal=ContextTooLong(5000, 4096))
    for stream in (False, True):
        response = send(stage.server, message("long", stream=stream))
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"].startswith("prompt is too long: 5000 tokens > 4095 maximum")


def test_a_thread_is_refused_so_that_clients_send_the_whole_conversation(stage: Stage) -> None:
    response = send(stage.server, message(thread={"type": "create"}))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert send(stage.server, message(thread=None)).status_code == 200


def test_a_tool_that_cannot_be_used_is_named_by_its_place() -> None:
    codec = Anthropic()
    asked = codec.decode(json.dumps(message(tools=[TOOL, {"name": "f"}])).encode())
    reply = codec.encode_error(BadTool("f", "nested"), asked, "req_1")
    told = json.loads(reply.body)["error"]["message"]
    assert told == "tools[1].input_schema: not a usable JSON Schema for tool 'f': nested"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic key"}, 401),
        ({"x-api-key": "key"}, 200),
        ({"authorization": "Bearer key"}, 200),
        ({"authorization": "Bearer wrong", "x-api-key": "key"}, 200),
        ({"authorization": "Bearer key", "x-api-key": "wrong"}, 200),
        ({"authorization": "Bearer wrong", "x-api-key": "wrong"}, 401),
    ],
    ids=str,
)
def test_either_key_being_right_is_right(locked: Any, headers: dict[str, str], status: int) -> None:
    response = send(locked, message(), headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json()["error"]["type"] == "authentication_error"


@pytest.fixture(scope="module")
def locked() -> Any:
    with serving(ScriptedUpstream(Playbook(Script(("x",)))), api_key="key") as server:
        yield server


NAMES = st.sampled_from(
    "type text content source data name input id tool_use_id is_error tool_name thinking signature title "
    "media_type url input_schema defer_loading cache_control role citations".split()
)
TYPES = st.sampled_from(
    "text image document tool_use tool_result tool_reference thinking redacted_thinking search_result base64 "
    "url content custom web_search_20250305 hologram".split()
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | st.text(max_size=4) | TYPES
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    "system messages tools tool_choice stop_sequences thinking metadata output_config stream thread".split()
)


@settings(max_examples=300, deadline=None)
@given(fields=st.dictionaries(FIELDS, VALUES, max_size=3), blocks=st.lists(VALUES, max_size=4))
def test_any_body_is_read_or_refused_by_name(fields: dict[str, Any], blocks: list[Any]) -> None:
    turns = [{"role": role, "content": blocks} for role in ("user", "assistant")]
    body = json.dumps({"model": "scripted", "messages": turns, **fields}).encode()
    named = error.param if (error := refused(body)) else "messages"
    assert named is not None
    assert error is None or error.message.startswith(named.split("[")[0].split(".")[0])


def refused(body: bytes) -> BadRequest | None:
    try:
        Anthropic().decode(body)
    except BadRequest as error:
        return error
    return None
