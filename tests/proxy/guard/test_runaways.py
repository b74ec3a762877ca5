"""Calls that run away: ended, asked again within a bound of their own, and shown in part."""

from __future__ import annotations

import json

import pytest

from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script
from repair.doomed import find_doomed
from repair.tools import ToolSet
from repair.types import ToolDefinition
from tests.proxy.attempts import Ring, ask
from tests.proxy.requests import CALL, LISBON

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
CLOSED = ToolDefinition(
    "edit",
    "",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
        "additionalProperties": False,
    },
)
FAR = "far_" * 200
OPEN = (ToolDefinition("get_weather", "", {"type": "object"}), ToolDefinition(FAR, "", {"type": "object"}))
SHORT = ToolSet.compile([CLOSED, OPEN[0]])
TOOLS = ToolSet.compile([CLOSED, *OPEN])
LONG = "x" * 3000
DOOMED = {
    "a_name_without_end": ('<tool_call>\n{"name": "get_moon' + "n" * 3000, "unknown_tool"),
    "a_declared_name_without_end": ('<tool_call>\n{"name": "get_weather' + "_0" * 1500, "unknown_tool"),
    "a_declared_name_and_escapes": ('<tool_call>\n{"name": "get_weather' + "\\\\_" * 1500, "unknown_tool"),
    "a_declared_name_in_a_tag": ("<tool_call>\n<function=get_weather" + "_0" * 1500, "unknown_tool"),
    "a_name_of_no_tool": ('<tool_call>\n{"name": "get_moon", "arguments": {"a": "' + LONG, "unknown_tool"),
    "a_name_in_a_tag": ("<tool_call>\n<function=get_moon>\n<parameter=a>\n" + LONG, "unknown_tool"),
    "an_invoke": ('<invoke name="get_moon">\n<parameter name="a">' + LONG, "unknown_tool"),
    "a_key_of_no_tool": (
        '<tool_call>\n{"name": "edit", "arguments": {"path": "a", "colour": "' + LONG,
        "additionalProperties",
    ),
}
SOUND = {
    "a_long_text": '<tool_call>\n{"name": "edit", "arguments": {"path": "a", "text": "' + LONG,
    "keys_inside_a_value": '<tool_call>\n{"name": "edit", "arguments": {"text": "\\"colour\\": ' + LONG,
    "an_open_schema": '<tool_call>\n{"name": "get_weather", "arguments": {"colour": "' + LONG,
    "another_case": '<tool_call>\n{"name": "Edit", "arguments": {"text": "' + LONG,
    "a_prefix": '<tool_call>\n{"name": "functions.edit", "arguments": {"text": "' + LONG,
    "a_server_before_it": '<tool_call>\n{"name": "' + "s" * 60 + '__edit", "arguments": {"text": "' + LONG,
    "a_marker_behind_it": '<tool_call>\n{"name": "edit<|' + "m" * 300 + '", "arguments": {"text": "' + LONG,
    "a_marker_begun": '<tool_call>\n{"name": "edit<|' + "m" * 300,
    "a_long_declared_name": '<tool_call>\n{"name": "' + FAR[:600],
    "an_escape_in_it": '<tool_call>\n{"name": "ed\\u0069t", "arguments": {"text": "' + LONG,
    "a_wrapper": '<tool_call>\n{"name": "edit", "arguments": {"arguments": {"text": "' + LONG,
    "no_marker": '{"name": "Alice", "biography": "' + LONG,
    "a_list": '[{"name": "Alice", "biography": "' + LONG,
    "arguments_first": '<tool_call>\n{"arguments": {"name": "Alice", "text": "' + LONG,
    "little_of_it": '<tool_call>\n{"name": "get_moon", "arguments": {"a": 1}}',
}


@pytest.mark.parametrize(("text", "rule"), DOOMED.values(), ids=DOOMED)
def test_what_can_no_longer_become_a_call(text: str, rule: str) -> None:
    problem = find_doomed(text, TOOLS)
    assert problem is not None
    assert problem.rule == rule
    assert find_doomed(text[:200], TOOLS) is None, "a little more is waited for"


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_what_still_can(text: str) -> None:
    assert find_doomed(text, TOOLS) is None


def test_a_suffix_has_an_end_too() -> None:
    assert find_doomed('<tool_call>\n{"name": "get_weather' + "_0" * 300, SHORT) is not None
    assert find_doomed('<tool_call>\n{"name": "get_weather' + "_0" * 300, TOOLS) is None


def runaway(lead: str, count: int = 5000, name: str = "get") -> Script:
    """A token at a time, no two alike."""
    return Script(
        (lead, f'<tool_call>\n{{"name": "{name}', *(f"_{i}" for i in range(count))), finish="length"
    )


@STREAM
@pytest.mark.parametrize("name", ["get", "get_weather"])
def test_a_runaway_is_ended_and_asked_again(full: Ring, name: str, stream: bool) -> None:
    key = full.attempts.plan(f"runaway {name} {stream}", runaway("Hm. ", name=name), CALL)
    seen = ask(full.server, key, stream)
    assert (seen.verdict, seen.calls, seen.content.strip()) == ("reasked", (LISBON,), "Hm.")
    played = next(one for one in full.upstream.played if one.request.messages[0].text == key)
    assert played.steps_played < 400
    assert played.closed
    first = full.accounts.kept[-1].attempts[0]
    assert first.problems[0].rule == "unknown_tool"
    assert 0 < first.usage.completion_tokens < 400


@STREAM
def test_one_that_runs_away_each_time_is_given_up_in_words(full: Ring, stream: bool) -> None:
    key = full.attempts.plan(f"always {stream}", runaway(""))
    seen = ask(full.server, key, stream, {"x-fortieth-give-up": "text"}, max_tokens=4000)
    assert (seen.verdict, seen.attempts, seen.reason) == ("failed", 3, "stop")
    assert "no declared tool has a name that begins with" in seen.told


def test_without_the_guard_it_goes_on(full: Ring) -> None:
    key = full.attempts.plan("off", runaway("", 1000))
    seen = ask(full.server, key, False, {"x-fortieth-guard": "off"})
    assert (seen.verdict, seen.reason) == ("unjudged", "length")
    assert seen.content.endswith("_999")


def test_every_attempt_has_a_bound_of_its_own(full: Ring) -> None:
    words = Script(tuple(f"{i} " for i in range(3000)))
    key = full.attempts.plan("bounded", Script(("<tool_call>\n{",)), words, CALL)
    seen = ask(full.server, key, False, tool_choice="required")
    assert (seen.verdict, seen.calls, seen.attempts) == ("reasked", (LISBON,), 3)
    assert [one.sampling.max_tokens for one in full.attempts.asked[key]] == [None, 1024, 2050]
    assert full.upstream.played[-2].steps_played == 1024, "even where the upstream does not keep it"


@pytest.mark.parametrize("structured", [False, True], ids=["text", "structure"])
def test_of_a_long_attempt_the_two_ends_are_shown(full: Ring, structured: bool) -> None:
    arguments = json.dumps({"days": "soon", "city": "x" * 30_000})
    text = CALL.replace('{"city": "Lisbon"}', arguments)
    step = UpstreamCall("get_weather", arguments) if structured else text
    key = full.attempts.plan(f"long {structured}", Script((step,)), CALL)
    assert ask(full.server, key, False).verdict == "reasked"
    fork = full.attempts.asked[key][1].messages
    assert sum(len(one.text) + sum(len(call.arguments) for call in one.calls) for one in fork) < 6000
    assert any("characters left out" in one.text for one in fork)
