"""Calls in the text of an upstream that has another way to send them."""

from __future__ import annotations

import pytest

from proxy.guard.drift import SessionKey
from proxy.guard.leaks import StructuredSessions, calls_in_text
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script
from repair.placement import InText
from tests.proxy.attempts import ask, ring
from tests.proxy.live import LoopThread

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lisbon"}}\n</tool_call>'
GOOD = Script((UpstreamCall("get_weather", '{"city": "Lisbon"}'),))


@pytest.mark.parametrize(
    ("structured", "leaked", "sent", "which"),
    [
        (False, False, True, InText.placed),
        (True, False, False, InText.never),
        (True, True, True, InText.alone),
        (True, True, False, InText.placed),
    ],
)
def test_which_calls_in_the_text_count(structured: bool, leaked: bool, sent: bool, which: InText) -> None:
    assert calls_in_text(structured, leaked, sent) is which


def test_the_sessions_seen_last_are_remembered() -> None:
    sessions = StructuredSessions(capacity=2)
    for name in ("a", "b", "a", "c"):
        sessions.note(SessionKey("m", name))
    assert [SessionKey("m", name) in sessions for name in "abc"] == [True, False, True]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "format", "attempts"),
    [(CALL, "hermes", 1), (f"So.\n{CALL}", "hermes", 2), (CALL, "auto", 2), (CALL, "mistral", 2)],
    ids=["alone", "behind_words", "family_not_known", "another_family"],
)
def test_who_sends_structure_leaks_little(
    thread: LoopThread, text: str, format: str, attempts: int, stream: bool
) -> None:
    headers = {"session-id": f"s-{format}-{attempts}-{stream}"}
    with ring(GuardPolicy(), thread=thread) as stage:
        first = ask(stage.server, stage.attempts.plan("first", GOOD), stream, headers)
        assert first.verdict == "clean"
        second = stage.attempts.plan("second", Script((text,), format=format), GOOD)
        seen = ask(stage.server, second, stream, headers)
    assert seen.attempts == attempts
    assert [name for name, _ in seen.calls] == ["get_weather"]


@pytest.mark.parametrize("stream", [False, True])
def test_leaked_calls_off(thread: LoopThread, stream: bool) -> None:
    with ring(GuardPolicy(leaked_calls=False), thread=thread) as stage:
        key = stage.attempts.plan("leak", Script((CALL,), format="hermes"), GOOD)
        assert ask(stage.server, key, stream).attempts == 2
    with ring(GuardPolicy(leaked_calls=False), thread=thread, capabilities=Capabilities()) as stage:
        key = stage.attempts.plan("engine", Script((CALL,), format="hermes"), GOOD)
        assert ask(stage.server, key, stream).attempts == 1
