"""A text that begins with a call which cannot be read: a call is asked for, and at last handed over whole."""

from __future__ import annotations

import json

import pytest

from proxy.conversation.request import ToolMode
from proxy.guard.policy import GuardPolicy
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.proxy.requests import CALL, LISBON

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
HEAD = '{"name": "get_weather", "arguments": {"city": "Lisbon", "days": '
# what the model emits again and again, and whether it is a call of get_weather
UNREAD = {
    "fenced": (f"```json\n{HEAD}2, 3}}}}\n```", True),
    "a_key_twice": (f'```json\n{HEAD}2, "days": 3}}}}\n```', True),
    "junk_behind": (
        f'{HEAD}2}}}}\n<|endoftext|>def get_weather(city):\n\n{HEAD}2}}}}\n```\n{{"id": 3}}',
        True,
    ),
    "stopped_inside": (f"<tool_call>\n{HEAD}", True),
    "end_of_a_marker": (f">{HEAD}2}}]}}", True),
    "another_family": (f"<|tool_call_begin|>functions.get_weather:0{HEAD}2", True),
    "stopped_before_a_value": ("<tool_call>\n<function=get_weather>\n<para", True),
    "words_first": (f"I look.\n```json\n{HEAD}2, 3}}}}\n```", False),
    "undeclared": ('<tool_call>\n{"name": "get_moon", "arguments": {"days": 2, 3', False),
}
READ = pytest.mark.parametrize(("emitted", "called"), UNREAD.values(), ids=UNREAD)


@STREAM
@READ
def test_it_is_handed_over_as_one_call(full: Ring, emitted: str, called: bool, stream: bool) -> None:
    key = full.attempts.plan(f"unread {emitted} {stream}", emitted)
    seen = ask(full.server, key, stream, {"x-fortieth-give-up": "client"})
    assert (seen.verdict, seen.attempts) == ("failed", 3)
    calls = [(name, json.loads(arguments)) for name, arguments in seen.calls]
    assert calls == ([("get_weather", {"not_executed": emitted})] if called else [])
    assert (seen.content or "").removeprefix(">") == ("" if called else emitted)
    assert full.accounts.kept[-1].handed_over == called


@pytest.mark.parametrize(
    "emitted",
    [
        '```json\n{"name": "get_moon", "arguments": {"city": "Lisbon"}}\n```',
        "<tool_call>\n<function=get_moon>\n<parameter=city>\nLisbon\n</parameter>\n</function>\n</tool_call>",
    ],
    ids=["json", "tags"],
)
def test_a_call_of_an_undeclared_tool_is_handed_over_and_never_forced(full: Ring, emitted: str) -> None:
    key = full.attempts.plan(f"undeclared {emitted}", emitted)
    seen = ask(full.server, key, False, {"x-fortieth-give-up": "client"})
    assert [(name, json.loads(arguments)) for name, arguments in seen.calls] == [
        ("get_moon", {"not_executed": emitted})
    ]
    assert all(one.tool_choice.mode is ToolMode.auto for one in full.attempts.asked[key])


def test_a_client_that_could_execute_it_gets_text(full: Ring) -> None:
    emitted = '{"name": "get_time", "arguments": {"zone": "UTC", "days": 2, 3}}'
    key = full.attempts.plan("could execute", emitted)
    seen = ask(full.server, key, False, {"x-fortieth-give-up": "client"})
    assert (seen.calls, seen.content, seen.give_up) == ((), emitted, "text")


@READ
def test_a_call_is_asked_for(full: Ring, emitted: str, called: bool) -> None:
    key = full.attempts.plan(f"asked for {emitted}", emitted, CALL)
    assert ask(full.server, key, False).calls == (LISBON,)
    choice = full.attempts.asked[key][1].tool_choice
    due = called or emitted.startswith("<tool_call>")
    assert (choice.mode is ToolMode.auto) is not due


def test_an_answer_in_words_is_one_all_the_same(full: Ring) -> None:
    """Many servers hear of a required call and do not hold the model to it."""
    key = full.attempts.plan("words", UNREAD["fenced"][0], "I cannot know the days.")
    seen = ask(full.server, key, False)
    assert (seen.verdict, seen.calls, seen.content) == ("reasked", (), "I cannot know the days.")


def test_no_call_is_forced_where_text_may_quote_one(thread: LoopThread) -> None:
    emitted = UNREAD["fenced"][0]
    with ring(GuardPolicy(leaked_calls=False), thread=thread) as stage:
        seen = ask(stage.server, stage.attempts.plan("quoted", emitted), False)
        assert (seen.calls, seen.content) == ((), emitted)
        assert all(one.tool_choice.mode is ToolMode.auto for one in stage.attempts.asked["quoted"])


@STREAM
@pytest.mark.parametrize("closer", ["</tool_call>", "</tool_calls>\n", "[/TOOL_CALLS]"])
@pytest.mark.parametrize("before", ["All done.\n", "It is mild "])
def test_a_lone_closing_marker_behind_words_is_left_out(
    full: Ring, before: str, closer: str, stream: bool
) -> None:
    key = full.attempts.plan(f"lone {before} {closer} {stream}", f"{before}{closer}")
    seen = ask(full.server, key, stream)
    assert (seen.verdict, seen.content, seen.attempts, seen.fixes) == ("none", before, 1, 1)


@STREAM
@pytest.mark.parametrize("text", ["It ends in `</tool_call>`", "<b>It is mild</b>", "As </tool_call> says."])
def test_other_text_is_left_as_it_is(full: Ring, text: str, stream: bool) -> None:
    key = full.attempts.plan(f"other {text} {stream}", text)
    seen = ask(full.server, key, stream)
    assert (seen.verdict, seen.content, seen.fixes) == ("none", text, 0)
