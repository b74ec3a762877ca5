"""Turns: what leaves when, and what the outcome holds."""

from __future__ import annotations

import json

import pytest

from repair.jsonl import repair_line
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import ReasoningDelta, TextDelta, ToolCall, ToolDefinition, Verdict

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = ToolSet.compile([ToolDefinition("get_weather", "", CITY), ToolDefinition("get_time", "", CITY)])
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city":  "Oslo"}}\n</tool_call>'


def test_text_leaves_at_once_and_a_marker_is_held() -> None:
    turn = Turn(TOOLS, "hermes")
    assert turn.feed("Hello wor") == [TextDelta("Hello wor")]
    assert turn.feed("ld <to") == [TextDelta("ld ")]
    assert turn.feed("ols>") == [TextDelta("<tools>")]
    assert turn.feed(" and <tool_call>") == [TextDelta(" and ")]
    assert turn.feed("x") == []
    assert turn.close("stop").events == (TextDelta("<tool_call>x"),)


def test_reasoning_leaves_at_once_without_its_markers() -> None:
    turn = Turn(TOOLS, "hermes")
    assert turn.feed("<thi") == []
    assert turn.feed("nk>so it") == [ReasoningDelta("so it")]
    assert turn.feed(" is</think>Yes") == [ReasoningDelta(" is"), TextDelta("Yes")]


def test_a_clean_call_keeps_its_bytes() -> None:
    turn = Turn(TOOLS, "hermes")
    turn.feed("\n" + CALL + "\n")
    outcome = turn.close("stop")
    assert outcome.verdict is Verdict.clean
    assert outcome.calls == (ToolCall("get_weather", '{"city":  "Oslo"}'),)
    assert outcome.events == ()


def test_a_refused_turn_gives_back_every_byte() -> None:
    text = "Well.\n" + CALL + " then " + CALL.replace("get_weather", "nothing") + " end </tool_call>"
    turn = Turn(TOOLS, "hermes")
    deltas = turn.feed(text)
    outcome = turn.close("stop")
    assert outcome.verdict is Verdict.reask
    assert outcome.calls == ()
    assert "".join(delta.text for delta in [*deltas, *outcome.events]) == text


def test_without_tools_nothing_is_held() -> None:
    turn = Turn(ToolSet.compile([]))
    assert turn.feed("<think>a</think>" + CALL) == [ReasoningDelta("a"), TextDelta(CALL)]
    assert turn.close("stop").verdict is Verdict.none


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (CALL, 1),
        (CALL.replace("</tool_call>", ""), 0),
        (CALL.replace("}}", "},}"), 0),
        (CALL.replace("Oslo", 'Os"lo'), 0),
        (CALL.replace('"Oslo"', "5"), 1),
        (CALL.replace("get_weather", "nothing"), 1),
        (
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
            1,
        ),
    ],
)
def test_the_guard_off_hands_on_what_parses(text: str, calls: int) -> None:
    turn = Turn(TOOLS, "hermes", TurnPolicy(enabled=False))
    deltas = turn.feed(text)
    outcome = turn.close("stop")
    assert len(outcome.calls) == calls
    assert outcome.fixes == ()
    assert outcome.problems == ()
    if not calls:
        assert "".join(delta.text for delta in [*deltas, *outcome.events]) == text


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        "{}",
        '{"raw_output": 5}',
        '{"raw_output": "x", "tools": {}}',
        '{"raw_output": "x", "tools": [{"type": "function"}]}',
        '{"raw_output": "x", "tools": [{"name": "f"}, {"name": "f", "parameters": {"type": "object"}}]}',
        '{"raw_output": "x", "tools": [], "format": "klingon"}',
        '{"raw_output": "x", "tools": [], "channel": "aether"}',
        '{"raw_output": "x", "tools": [], "channel": "arguments"}',
        '{"raw_output": "x", "tools": [], "chunks": "x"}',
        '{"raw_output": "x", "tools": [], "tool_choice": "maybe"}',
        "[" * 100_000,
    ],
)
def test_a_bad_line_is_an_answer(line: str) -> None:
    answer, usable = repair_line(line)
    assert not usable
    assert answer["error"]


def test_a_bad_line_keeps_its_id() -> None:
    assert repair_line('{"id": 7, "raw_output": null}')[0]["id"] == 7


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        ([{"type": "function", "function": {"name": "get_time", "arguments": '{"city": "A"}'}}], "clean"),
        (
            [
                {"name": "get_time", "arguments": {"city": "A"}},
                {"name": "GET_TIME", "arguments": '{"city": 1}'},
            ],
            "repaired",
        ),
        ([{"name": "get_time", "arguments": '{"city": "A'}], "reask"),
        ([{"arguments": "{}"}], "reask"),
        ([], "none"),
    ],
)
def test_an_upstreams_tool_calls(raw: list[object], verdict: str) -> None:
    tools = [{"type": "function", "function": {"name": "get_time", "parameters": CITY}}]
    line = json.dumps({"channel": "tool_calls", "raw_output": json.dumps(raw), "tools": tools})
    answer, usable = repair_line(line)
    assert usable
    assert answer["verdict"] == verdict
    assert len(answer["tool_calls"]) == (0 if verdict == "reask" else len(raw))
