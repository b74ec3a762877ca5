"""What a Messages request means: every form that real clients send, as the one type of request."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.codecs.anthropic import Anthropic
from proxy.codecs.anthropic_blocks import sign
from proxy.conversation.message import (
    MediaPart,
    Message,
    PastCall,
    ReasoningPart,
    ResultPart,
    Role,
    TextPart,
    UnknownPart,
)
from proxy.conversation.request import ChatRequest, SessionId, ToolChoice, ToolMode
from proxy.prompts.rendering import render_tools
from proxy.upstreams.remote.mapping import completion_params
from tests.proxy.codecs.messages import TOOL, message, send
from tests.proxy.conftest import Stage

CLOCK = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
IMAGE = MediaPart("image", {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}})
CACHE = {"cache_control": {"type": "ephemeral"}}


def decoded(asked: dict[str, Any]) -> ChatRequest:
    return Anthropic().decode(json.dumps(asked).encode()).request


def spoken(*messages: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return decoded(message(messages=list(messages), **fields)).messages


def said(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(words: str, **extra: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **extra}


def result(content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **fields}


def told(*parts: Any, failed: bool = False) -> Message:
    return Message(Role.tool, (ResultPart("toolu_1", "", parts, failed),))


HI = Message.of(Role.user, "hi")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"system": "Be brief."}, (TextPart("Be brief."),)),
        (
            {"system": [text("x-agent-billing: 1;"), text("Be brief.", **CACHE)]},
            (TextPart("x-agent-billing: 1;"), TextPart("Be brief.", CACHE)),
        ),
        ({"system": [text("")]}, (TextPart(""),)),
    ],
    ids=["string", "blocks", "empty_block"],
)
def test_the_system_prompt_comes_first(fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert decoded(message(**fields)).messages == (Message(Role.system, expected), HI)


def test_no_system_prompt_is_no_message() -> None:
    assert decoded(message()).messages == (HI,)
    none: tuple[Any, ...] = ("", None, [])
    for nothing in none:
        assert decoded(message(system=nothing)).messages == (HI,)


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": "é"}}
MESSAGES: dict[str, tuple[dict[str, Any], tuple[Message, ...]]] = {
    "string": ({"role": "user", "content": "hi"}, (HI,)),
    "block": (said("user", text("hi")), (HI,)),
    "nothing": ({"role": "assistant", "content": []}, (Message(Role.assistant),)),
    "null": ({"role": "assistant", "content": None}, (Message(Role.assistant),)),
    "cached": (said("user", text("hi", **CACHE)), (Message(Role.user, (TextPart("hi", CACHE),)),)),
    "late_system": ({"role": "system", "content": "Now."}, (Message.of(Role.system, "Now."),)),
    "unknown_role": ({"role": "critic", "content": "hi"}, (HI,)),
    "answer_in_order": (
        said(
            "assistant",
            {"type": "thinking", "thinking": "So.", "signature": "Ep8C"},
            {"type": "redacted_thinking", "data": "aGk="},
            text("I look."),
            CALL,
            text("And."),
        ),
        (
            Message(
                Role.assistant,
                (
                    ReasoningPart("So.", "Ep8C"),
                    ReasoningPart("", redacted="aGk="),
                    TextPart("I look."),
                    PastCall("toolu_1", "f", '{"x": "é"}'),
                    TextPart("And."),
                ),
            ),
        ),
    ),
    "our_own_signature_is_for_no_upstream": (
        said("assistant", {"type": "thinking", "thinking": "So.", "signature": sign("So.")}),
        (Message(Role.assistant, (ReasoningPart("So."),)),),
    ),
    "thinking_without_a_signature": (
        said("assistant", {"type": "thinking", "thinking": "So."}),
        (Message(Role.assistant, (ReasoningPart("So."),)),),
    ),
    "poisoned_calls": (
        said("assistant", CALL | {"input": '{"x": '}, CALL | {"input": None}, CALL | {"input": [1]}),
        (
            Message(
                Role.assistant,
                (
                    PastCall("toolu_1", "f", '{"x": '),
                    PastCall("toolu_1", "f", "{}"),
                    PastCall("toolu_1", "f", "[1]"),
                ),
            ),
        ),
    ),
    "results_and_text_in_order": (
        said("user", result("1"), result("2", is_error=True), text("go on")),
        (told(TextPart("1")), told(TextPart("2"), failed=True), Message.of(Role.user, "go on")),
    ),
    "text_before_a_result": (
        said("user", text("first"), result("1")),
        (Message.of(Role.user, "first"), told(TextPart("1"))),
    ),
    "result_of_parts": (
        said("user", result([text("a"), {"type": "image", "source": PIXEL}, text("b")])),
        (told(TextPart("a"), IMAGE, TextPart("b")),),
    ),
    "cached_result": (
        said("user", result([text("a"), text("b")], **CACHE)),
        (told(TextPart("a"), TextPart("b", CACHE)),),
    ),
    "result_of_nothing": (said("user", result(None)), (told(),)),
    "result_that_is_an_object": (said("user", result({"ok": True})), (told(TextPart('{"ok": true}')),)),
    "image": (
        said("user", {"type": "image", "source": PIXEL}, text("what?")),
        (Message(Role.user, (IMAGE, TextPart("what?"))),),
    ),
    "image_by_address": (
        said("user", {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}),
        (
            Message(
                Role.user,
                (MediaPart("image", {"type": "image_url", "image_url": {"url": "http://x/y.png"}}),),
            ),
        ),
    ),
    "image_that_lies_elsewhere": (
        said("user", {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        (Message(Role.user, (UnknownPart("image"),)),),
    ),
    "document_of_text": (
        said("user", {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}}),
        (Message(Role.user, (TextPart("T"), TextPart("words"))),),
    ),
    "document_of_blocks": (
        said("user", {"type": "document", "source": {"type": "content", "content": [text("a")]}}),
        (Message(Role.user, (TextPart("a"),)),),
    ),
    "document_as_a_file": (
        said("user", {"type": "document", "source": {"type": "base64", "data": "JVBERg=="}}),
        (
            Message(
                Role.user,
                (
                    MediaPart(
                        "document",
                        {
                            "type": "file",
                            "file": {
                                "filename": "document.pdf",
                                "file_data": "data:application/pdf;base64,JVBERg==",
                            },
                        },
                    ),
                ),
            ),
        ),
    ),
    "search_result": (
        said("user", {"type": "search_result", "title": "T", "source": "s", "content": [text("found")]}),
        (Message(Role.user, (TextPart("T (s)"), TextPart("found"))),),
    ),
    "unknown_block": (
        said("assistant", {"type": "server_tool_use", "name": "web_search"}, text("hi")),
        (Message(Role.assistant, (UnknownPart("server_tool_use"), TextPart("hi"))),),
    ),
    "unknown_block_of_text": (said("user", {"type": "later", "text": "hi"}), (HI,)),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_read_in_its_order(name: str) -> None:
    given, expected = MESSAGES[name]
    assert spoken(given) == expected


def test_what_is_left_out_is_named(stage: Stage) -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    asked = message(
        messages=[said("user", text("hi"), {"type": "hologram"}, {"type": "hologram"})], tools=[TOOL, search]
    )
    request = decoded(asked)
    assert [tool.name for tool in request.tools] == ["get_weather"]
    assert request.warnings == (
        "tool web_search of type web_search_20250305 is not served here: left out",
        "content of type hologram is not served here: left out",
    )
    response = send(stage.server, asked)
    assert response.status_code == 200
    assert response.headers["x-fortieth-warning"] == "; ".join(request.warnings)
    streamed = send(stage.server, asked | {"stream": True}).text
    assert f": x-fortieth-warning: {request.warnings[0]}" in streamed


def test_tools_and_the_choice_among_them() -> None:
    request = decoded(message(tools=[TOOL | {"strict": True, **CACHE}, CLOCK | {"type": "custom"}]))
    assert [(tool.name, tool.strict) for tool in request.tools] == [
        ("get_weather", True),
        ("get_time", False),
    ]
    assert request.tools[0].parameters == TOOL["input_schema"]
    assert request.tool_extra == {"get_weather": CACHE}
    assert (request.tool_choice, request.parallel_tool_calls) == (ToolChoice(), True)
    for choice, expected in (
        ({"type": "auto"}, ToolChoice()),
        ({"type": "any"}, ToolChoice(ToolMode.required)),
        ({"type": "none"}, ToolChoice(ToolMode.none)),
        ({"type": "tool", "name": "get_time"}, ToolChoice(ToolMode.named, "get_time")),
    ):
        request = decoded(
            message(tools=[TOOL, CLOCK], tool_choice=choice | {"disable_parallel_tool_use": True})
        )
        assert (request.tool_choice, request.parallel_tool_calls) == (expected, False)


def find(name: str, call_id: str = "toolu_1") -> dict[str, Any]:
    return said("user", result([{"type": "tool_reference", "tool_name": name}]))


def test_a_deferred_tool_is_declared_where_it_is_referred_to() -> None:
    hidden = CLOCK | {"defer_loading": True}
    tools = [hidden, TOOL, CLOCK | {"name": "other", "defer_loading": True}]
    before = decoded(message(tools=tools))
    assert [tool.name for tool in before.tools] == ["get_weather"]
    messages = [
        said("user", text("hi")),
        find("get_time"),
        find("get_time"),
        find("nowhere"),
        find("get_weather"),
    ]
    after = decoded(message(tools=tools, messages=messages))
    assert [tool.name for tool in after.tools] == ["get_time", "get_weather"]
    declared = {
        "type": "function",
        "function": {"name": "get_time", "parameters": CLOCK["input_schema"]},
    }
    assert [one.text for one in after.messages[1:]] == [
        f"A tool that can be called from now on:\n{json.dumps(declared)}",
        "get_time: declared above",
        "[nowhere: no such tool]",
        "get_weather: declared above",
    ]
    # a prompt keeps its beginning; a server only takes calls of what is declared to it
    assert render_tools(after) == render_tools(before)
    sent = completion_params(after, open_server=True)["tools"]
    assert [tool["function"]["name"] for tool in sent] == ["get_time", "get_weather"]


def test_deferred_tools_that_no_message_could_show_stand_at_the_head() -> None:
    hidden = CLOCK | {"defer_loading": True}
    server_search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search"}
    for fields in (
        {"tools": [hidden, server_search]},
        {"tools": [hidden], "tool_choice": {"type": "tool", "name": "get_time"}},
        {"tools": [hidden], "messages": [find("get_time")]},
    ):
        shown = render_tools(decoded(message(**fields)))
        assert shown is not None
        assert [tool["function"]["name"] for tool in shown] == ["get_time"]


@pytest.mark.parametrize(
    ("fields", "options", "budget", "shown"),
    [
        ({}, {}, None, False),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}, None, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"enable_thinking": True}, 2000, True),
        ({"thinking": {"type": "adaptive"}}, {}, None, True),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {}, None, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}, None, True),
        ({"thinking": "much"}, {}, None, False),
    ],
)
def test_thinking(fields: dict[str, Any], options: dict[str, Any], budget: int | None, shown: bool) -> None:
    request = decoded(message(**fields))
    assert request.template_options == options
    assert (request.thinking_budget, request.include_reasoning) == (budget, shown)


def test_sampling_and_what_else_a_turn_is_asked_with() -> None:
    request = decoded(
        message(temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["END", ""], stream=True, max_tokens=5.0)
    )
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 40)
    assert (sampling.stop, sampling.max_tokens, request.stream) == (("END",), 5, True)
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    form = {"type": "json_schema", "schema": schema}
    for fields in ({"output_config": {"format": form, "effort": "high"}}, {"output_format": form}):
        wanted = decoded(message(**fields))
        assert (wanted.json_answer, wanted.answer_schema) == (True, schema)
    assert not request.json_answer


@pytest.mark.parametrize(
    ("user_id", "expected"),
    [
        ('{"device_id": "d", "session_id": "s-1"}', SessionId("s-1", "metadata.user_id")),
        ("someone", SessionId("someone", "user")),
    ],
)
def test_the_session(user_id: str, expected: SessionId) -> None:
    assert decoded(message(metadata={"user_id": user_id})).session == expected


def test_what_no_one_here_knows_is_ignored() -> None:
    extra = {
        "context_management": {"edits": []},
        "output_config": {"effort": "max"},
        "betas": ["x"],
        "service_tier": "auto",
        "container": None,
        "later": [1],
    }
    assert decoded(message(**extra)) == replace(decoded(message()), further={"later": [1]})
