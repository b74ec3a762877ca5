"""Which session a request belongs to: the ids that real clients send, in their order, and what stands in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.conversation.message import Message, Role
from proxy.conversation.request import UNNAMED, ChatRequest, SessionId
from proxy.conversation.session_id import from_body, from_headers, identify, prefix_of
from repair.types import ToolDefinition

HEADERS: list[tuple[dict[str, str], SessionId]] = [
    ({}, UNNAMED),
    ({"x-claude-code-session-id": "s"}, SessionId("s", "x-claude-code-session-id")),
    (
        {"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a"},
        SessionId("s/a", "x-claude-code-session-id"),
    ),
    ({"x-claude-code-agent-id": "a"}, UNNAMED),
    ({"session-id": "s", "x-session-id": "t"}, SessionId("s", "session-id")),
    ({"session_id": "s"}, SessionId("s", "session_id")),
    ({"x-session-id": "s", "x-session-affinity": "s"}, SessionId("s", "x-session-id")),
    ({"x-session-affinity": "s"}, SessionId("s", "x-session-affinity")),
    ({"x-affinity": "s"}, SessionId("s", "x-affinity")),
    ({"x-litellm-session-id": "s"}, SessionId("s", "x-litellm-session-id")),
    ({"x-openwebui-chat-id": "s"}, SessionId("s", "x-openwebui-chat-id")),
    ({"session-id": "  ", "x-affinity": " s "}, SessionId("s", "x-affinity")),
]


@pytest.mark.parametrize(("headers", "expected"), HEADERS, ids=lambda value: str(value)[:40])
def test_by_header(headers: dict[str, str], expected: SessionId) -> None:
    assert from_headers(headers) == expected


BODIES: list[tuple[dict[str, Any], SessionId]] = [
    ({}, UNNAMED),
    ({"prompt_cache_key": "p", "user": "u"}, SessionId("p", "prompt_cache_key")),
    ({"metadata": {"user_id": json.dumps({"session_id": "m"})}}, SessionId("m", "metadata.user_id")),
    ({"metadata": {"user_id": '{"session_id": 7}'}}, SessionId('{"session_id": 7}', "user")),
    ({"metadata": {"user_id": '{"account": "x"}'}, "user": "u"}, SessionId('{"account": "x"}', "user")),
    ({"metadata": {"user_id": "plain"}}, SessionId("plain", "user")),
    ({"metadata": {"user_id": "[" * 250}}, SessionId("[" * 250, "user")),
    ({"user": "u"}, SessionId("u", "user")),
    ({"user": 7, "metadata": "x", "prompt_cache_key": ["p"]}, UNNAMED),
]


@pytest.mark.parametrize(("body", "expected"), BODIES, ids=lambda value: str(value)[:40])
def test_by_body(body: dict[str, Any], expected: SessionId) -> None:
    assert from_body(body) == expected


def test_long_ids_stay_apart() -> None:
    one, two = (from_headers({"session-id": "x" * 5000 + end}) for end in "ab")
    assert one != two
    assert len(one.id) <= 256


SYSTEM = Message.of(Role.system, "be kind\ndate: 2026-11-21\ntime: 12:00:01")
ASK = Message.of(Role.user, "hi")
ANSWER = Message.of(Role.assistant, "hello")


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("m", messages, **fields)


SAME = {
    "a_later_turn": asked(SYSTEM, ASK, ANSWER, Message.of(Role.user, "more")),
    "a_late_system_message": asked(SYSTEM, ASK, Message.of(Role.system, "be brief")),
    "other_tools": asked(SYSTEM, ASK, tools=(ToolDefinition("f"),)),
    "a_later_hour": asked(Message.of(Role.system, SYSTEM.text.replace("12:00:01", "13:30:59")), ASK),
    "a_header_line": asked(Message.of(Role.system, f"x-some-billing-header: v=1.2.ab;\n{SYSTEM.text}"), ASK),
}
OTHER = {
    "another_system": asked(Message.of(Role.system, "be brief"), ASK),
    "another_date": asked(Message.of(Role.system, SYSTEM.text.replace("-21", "-22")), ASK),
    "another_question": asked(SYSTEM, Message.of(Role.user, "hi there")),
    "no_system": asked(ASK),
}


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_the_prefix_is_the_same_for_a_session_and_no_other(name: str) -> None:
    own = prefix_of(asked(SYSTEM, ASK))
    assert (prefix_of((SAME | OTHER)[name]) == own) == (name in SAME)


def test_the_surest_wins() -> None:
    by_header, by_body = SessionId("h", "session-id"), SessionId("b", "prompt_cache_key")
    named = asked(ASK, session=by_body)
    assert identify(named, by_header) == by_header
    assert identify(named) == by_body
    assert identify(asked(ASK)) == SessionId(prefix_of(asked(ASK)), "prefix")


def test_a_user_is_no_session() -> None:
    """Two conversations of one user are two sessions; the same words of two users, too."""
    u, v = SessionId("u", "user"), SessionId("v", "user")
    found = [
        identify(asked(ASK, session=u)),
        identify(asked(ASK, ANSWER, ASK, session=u)),
        identify(asked(SYSTEM, ASK, session=u)),
        identify(asked(ASK, session=v)),
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3
