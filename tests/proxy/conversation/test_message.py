"""Messages by their parts: the client's order is kept, and what is derived from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request
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
from proxy.conversation.request import ChatRequest
from proxy.prompts.rendering import conversations

IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
SHOWN = "[image_url omitted: this model reads text only]"


def decode(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return decode_request(json.dumps({"messages": messages}).encode()).request.messages


def test_parts_stand_in_the_clients_order() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        IMAGE,
        "b",
        {"type": "riddle"},
    ]
    call = {"id": "c1", "function": {"name": "f", "arguments": "{"}, "extra_content": 1}
    (message,) = decode({"role": "assistant", "content": content, "tool_calls": [call]})
    assert message.parts == (
        ReasoningPart("hm", "s"),
        TextPart("a", {"cache_control": {"type": "ephemeral"}}),
        MediaPart("image_url", IMAGE),
        TextPart("b"),
        UnknownPart("riddle", {"type": "riddle"}),
        PastCall("c1", "f", "{", {"extra_content": 1}),
    )
    assert (message.text, message.reasoning, message.calls) == ("ab", "hm", message.parts[-1:])


def test_a_result_has_its_own_parts() -> None:
    (message,) = decode({"role": "tool", "tool_call_id": "c1", "name": "f", "content": ["a", IMAGE]})
    assert message.parts == (ResultPart("c1", "f", (TextPart("a"), MediaPart("image_url", IMAGE))),)
    assert (message.text, message.call_id, message.name) == ("a", "c1", "f")
    assert message.in_words().text == f"a\n{SHOWN}"


def test_a_failure_is_told_where_nothing_else_says_so() -> None:
    result = ResultPart("c1", "f", (TextPart("no such file"),), is_error=True)
    (told,) = next(conversations(request_of(Message(Role.tool, (result,)))))
    assert told["content"] == "The tool failed:\nno such file"
    message = Message(Role.tool, (result,)).in_words()
    assert message.in_words() is message, "it is told once"


def request_of(*messages: Message) -> ChatRequest:
    return ChatRequest("", messages)


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_what_a_template_cannot_show_is_named_in_its_place(role: str) -> None:
    content = [{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}]
    (rendered, *_) = next(conversations(request_of(*decode({"role": role, "content": content}))))
    between = "" if role == "assistant" else "\n"
    assert rendered["content"] == between.join(("a", SHOWN, "b"))


@pytest.mark.parametrize(
    ("message", "empty"),
    [
        (Message.of(Role.assistant), True),
        (Message(Role.assistant, (TextPart(""), ReasoningPart("", redacted="x"))), True),
        (Message.of(Role.assistant, "a"), False),
        (Message.of(Role.assistant, reasoning="a"), False),
        (Message.of(Role.assistant, calls=(PastCall("", "f", ""),)), False),
        (Message(Role.assistant, (UnknownPart("x"),)), False),
        (Message.of(Role.user), False),
    ],
)
def test_an_empty_answer(message: Message, empty: bool) -> None:
    assert message.is_empty_answer is empty


def test_a_new_text_stands_where_the_old_one_did() -> None:
    call, image = PastCall("c", "f", "{}"), MediaPart("image", {})
    assert Message(Role.user, (image, TextPart("a"), image, TextPart("b"))).with_text("c").parts == (
        image,
        TextPart("c"),
        image,
    )
    said = Message.of(Role.assistant, reasoning="r", calls=(call,)).with_text("a")
    assert said.parts == (ReasoningPart("r"), TextPart("a"), call)
    result = Message.of(Role.tool, "a", call_id="c")
    assert result.with_text("b") == Message.of(Role.tool, "b", call_id="c")
    assert result.with_more("b").text == "a\nb"
    assert Message(Role.user, (TextPart("a"), image)).with_more("b").parts[-1] == TextPart("b")
    assert said.with_calls(()).without_reasoning() == Message.of(Role.assistant, "a")
