"""`announce = "nudge"`: an answer that says what the model will do now, and does not do it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxy.guard.announced import announces_step
from proxy.guard.policy import Announce, GuardPolicy
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.requests import CALL, TOOLS

ANNOUNCED = "The folder holds three files. I will now read the first one."
WORDS = "The folder holds three files, and nothing else is needed."
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def nudging(thread: LoopThread) -> Iterator[Ring]:
    with ring(GuardPolicy(drift=None, announce=Announce.nudge), thread=thread) as stage:
        yield stage


def behind_a_result(key: str, **fields: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": key},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    return {"messages": messages, **fields}


@STREAM
def test_the_call_that_was_announced_follows_what_was_said(nudging: Ring, stream: bool) -> None:
    key = nudging.attempts.plan("then calls", ANNOUNCED, CALL)
    seen = ask(nudging.server, key, stream, **behind_a_result(key))
    assert (seen.verdict, seen.attempts, seen.reason) == ("reasked", 2, "tool_calls")
    assert [name for name, _ in seen.calls] == ["get_weather"]
    assert seen.content == ANNOUNCED
    assert "call the tool now" in nudging.attempts.asked[key][1].messages[-1].text


@STREAM
@pytest.mark.parametrize("second", [WORDS, ANNOUNCED, CALL[:40]], ids=["words", "again", "cut"])
def test_words_instead_leave_the_turn_as_it_was(nudging: Ring, stream: bool, second: str) -> None:
    key = nudging.attempts.plan("words", ANNOUNCED, second)
    seen = ask(nudging.server, key, stream, **behind_a_result(key))
    assert (seen.verdict, seen.attempts, seen.reason, seen.calls) == ("none", 2, "stop", ())
    assert (seen.content, seen.told) == (ANNOUNCED, "")
    assert len(nudging.attempts.asked[key]) == 2


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (WORDS, {}),
        (ANNOUNCED, {"tool_choice": "none", "tools": TOOLS}),
        (ANNOUNCED, {"tools": []}),
        (ANNOUNCED, {"messages": [{"role": "user", "content": "no result before it"}]}),
    ],
    ids=["an answer", "no call may be made", "no tools", "no result"],
)
def test_nobody_else_is_asked(nudging: Ring, text: str, fields: dict[str, Any]) -> None:
    key = "no result before it" if "messages" in fields else "alone"
    nudging.attempts.plan(key, text, CALL)
    seen = ask(nudging.server, key, False, **{**behind_a_result(key), **fields})
    assert (seen.attempts, seen.calls, seen.content) == (1, (), text)


@STREAM
def test_it_is_off_unless_set(full: Ring, stream: bool) -> None:
    key = full.attempts.plan("off", ANNOUNCED, CALL)
    seen = ask(full.server, key, stream, **behind_a_result(key))
    assert (seen.attempts, seen.calls, seen.content) == (1, (), ANNOUNCED)


@pytest.mark.parametrize(
    "text",
    [
        "I will now read the file.",
        "I'll check the tests next",
        "Done. Now let me look at the second folder:",
        "Okay, let's run it again...",
        "The test fails.\nNext, I’m going to fix the import.",
        "**Let me read the config first.**",
    ],
)
def test_announcements(text: str) -> None:
    assert announces_step(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The file is read.",
        "Let me know if you need anything else.",
        "I will be here if there is more.",
        "Shall I read the file?",
        "I'll summarize: three files were found.",
        "I will now read the file. It is empty, so there is nothing to do.",
        "He said: I have read the file.",
        "Let me explain why that failed.",
        "Would you like me to go on? I will wait for your answer.",
        "I'll leave the rest to you.",
        "I will remind you to call Ann at noon.",
    ],
)
def test_no_announcements(text: str) -> None:
    assert not announces_step(text)
