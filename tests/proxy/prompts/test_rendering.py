"""Conversations in the forms that chat templates take."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest, ToolChoice, ToolMode
from proxy.prompts.rendering import conversations, holds_calls, render_tools
from repair.types import ToolDefinition

SYSTEM, LATE = Message.of(Role.system, "be kind"), Message.of(Role.system, "be brief")
ASK = Message.of(Role.user, "hi")
CALLED = Message.of(Role.assistant, "", calls=(PastCall("c1", "f", '{"a":  1}'),))
BROKEN = Message.of(Role.assistant, "", calls=(PastCall("c1", "f", '{"a": '),))
RESULT = Message.of(Role.tool, "42", call_id="c1", name="f")
EMPTY = Message.of(Role.assistant, "")


def forms(*messages: Message, in_place: bool = True) -> list[list[dict[str, Any]]]:
    return list(conversations(ChatRequest("m", messages), in_place=in_place))


def test_the_first_form_is_the_conversation_itself() -> None:
    assert forms(SYSTEM, ASK, CALLED, RESULT, LATE)[0] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1", "name": "f"},
        {"role": "system", "content": "be brief"},
    ]


@pytest.mark.parametrize(
    ("sent", "kept", "as_object"),
    [
        ('{"a": 1}', {"a": 1}, {"a": 1}),
        ("", {}, {}),
        ("null", {}, {}),
        ('{"a": ', '{"a": ', {"arguments": '{"a": '}),
        ("[1]", "[1]", {"arguments": "[1]"}),
        ("5", "5", {"arguments": "5"}),
        ("[" * 100_000, "[" * 100_000, {"arguments": "[" * 100_000}),
        ('{"a":' * 150 + "1" + "}" * 150, '{"a":' * 150 + "1" + "}" * 150, None),
    ],
    ids=["object", "empty", "null", "cut", "array", "number", "deep", "deep_object"],
)
def test_arguments(sent: str, kept: Any, as_object: Any) -> None:
    message = Message.of(Role.assistant, "", calls=(PastCall("c1", "f", sent),))
    first, *_, second, _ = forms(ASK, message)
    assert first[1]["tool_calls"][0]["function"]["arguments"] == kept
    assert second[1]["tool_calls"][0]["function"]["arguments"] == (
        {"arguments": sent} if as_object is None else as_object
    )


def test_the_second_form_has_one_system_message_at_the_head() -> None:
    late = forms(SYSTEM, LATE, ASK, CALLED, RESULT, LATE)[-2]
    assert [m["role"] for m in late] == ["system", "user", "assistant", "tool", "user"]
    assert (late[0]["content"], late[-1]["content"]) == ("be kind\n\nbe brief", "System: be brief")
    assert [m["role"] for m in forms(ASK, Message.of(Role.system, ""), ASK)[1]] == ["user", "user"]


def test_later_system_messages_can_be_gathered_there() -> None:
    gathered = forms(ASK, SYSTEM, CALLED, RESULT, LATE, in_place=False)[-2]
    assert [m["role"] for m in gathered] == ["system", "user", "assistant", "tool"]
    assert gathered[0]["content"] == "be kind\n\nbe brief"


def test_the_third_form_alternates_and_loses_no_text() -> None:
    third = forms(SYSTEM, ASK, ASK, CALLED, RESULT, BROKEN)[-1]
    assert [m["role"] for m in third] == ["user", "assistant", "user", "assistant"]
    assert third[0]["content"] == "be kind\n\nhi\n\nhi"
    assert third[1]["content"] == 'Called f with {"a":  1}'
    assert third[2]["content"] == "Result of f:\n42"
    assert forms(Message.of(Role.assistant, "hello"), ASK)[2][0] == {"role": "user", "content": ""}


def test_a_trailing_empty_answer_is_dropped() -> None:
    assert [m["role"] for m in forms(ASK, EMPTY, EMPTY)[0]] == ["user"]
    assert [m["role"] for m in forms(ASK, EMPTY, ASK)[0]] == ["user", "assistant", "user"]
    assert forms(EMPTY)[0] == [{"role": "assistant", "content": ""}]


@pytest.mark.parametrize("messages", [(ASK,), (SYSTEM, ASK)], ids=["no_system", "system"])
def test_the_schema_of_the_answer_is_told(messages: tuple[Message, ...]) -> None:
    request = ChatRequest("m", messages, answer_schema={"type": "object", "title": "Größe"})
    system, asked = next(conversations(request))
    assert system["role"] == "system"
    assert system["content"].endswith('nothing else:\n{"type": "object", "title": "Größe"}')
    assert ("be kind" in system["content"]) == (len(messages) == 2)
    assert asked == {"role": "user", "content": "hi"}


def test_tools_are_shown_unless_none_may_be_called() -> None:
    tools = (ToolDefinition("f", "does f", {"type": "object"}), ToolDefinition("g"))
    shown = render_tools(ChatRequest("m", (ASK,), tools))
    assert shown == [
        {
            "type": "function",
            "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}},
        },
        {"type": "function", "function": {"name": "g", "parameters": {}}},
    ]
    assert render_tools(ChatRequest("m", (ASK,), tools, tool_choice=ToolChoice(ToolMode.none))) is None
    assert render_tools(ChatRequest("m", (ASK,))) is None


def test_the_forms_of_calls_that_some_templates_want() -> None:
    two = Message.of(
        Role.assistant,
        "so",
        calls=(PastCall("call_long_1", "f", '{"a": 1}'), PastCall("call_long_2", "g", "{}")),
    )
    results = [
        Message.of(Role.tool, "42", call_id="call_long_1"),
        Message.of(Role.tool, "43", call_id="call_long_2"),
    ]
    _, as_text, short, single, *_ = forms(ASK, two, *results)
    assert [call["function"]["arguments"] for call in as_text[1]["tool_calls"]] == ['{"a": 1}', "{}"]
    ids = [call["id"] for call in short[1]["tool_calls"]]
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert [one["tool_call_id"] for one in short[2:]] == ids
    assert [one["role"] for one in single] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [len(one.get("tool_calls", ())) for one in single] == [0, 1, 0, 1, 0]
    assert [one["content"] for one in single] == ["hi", "so", "42", "", "43"]


@pytest.mark.parametrize(
    ("text", "held"),
    [('f {"a": "x\\ny"}', True), ("f x\ny", True), ("f", False), ('"x\\ny"', False)],
    ids=["json", "raw", "name_alone", "arguments_alone"],
)
def test_calls_that_a_template_leaves_out_are_noticed(text: str, held: bool) -> None:
    called = Message.of(Role.assistant, "", calls=(PastCall("c1", "f", '{"a": "x\\ny"}'),))
    assert holds_calls(text, ChatRequest("m", (ASK, called))) is held
