"""Texts that end in the shape of a call: where JSON was asked for, and of any length."""

from __future__ import annotations

import json

import pytest

from repair.endings import ends_in_call, is_call_shape
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import ToolDefinition, Verdict

TOOLS = ToolSet.compile([ToolDefinition("get_weather")])
CALL = '{"name": "find", "arguments": {"q": "x"}}'


@pytest.mark.parametrize("text", [CALL, f"```json\n{CALL}\n```", f"Here:\n{CALL}"])
def test_json_that_was_asked_for_is_text(text: str) -> None:
    for asked, verdict in ((True, Verdict.none), (False, Verdict.reask)):
        turn = Turn(TOOLS, "auto", TurnPolicy(json_answer=asked))
        turn.feed(text)
        assert turn.close("stop").verdict is verdict


def test_without_tools_nothing_is_a_call() -> None:
    assert not ends_in_call(CALL, ToolSet.compile([]))


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"name": "f", "arguments": {}}, True),
        ({"name": "f", "parameters": {"a": 1}}, True),
        ({"name": "f", "arguments": '{"a": 1}'}, True),
        ([{"name": "f", "arguments": {}}] * 2, True),
        ({"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}, True),
        ({"name": "f"}, False),
        ({"name": "f", "arguments": {}, "age": 3}, False),
        ({"name": "A person", "arguments": {}}, False),
        ({"name": "f", "arguments": "for and against"}, False),
        ({"name": "f", "parameters": {"type": "object", "properties": {}}}, False),
        ([], False),
    ],
    ids=json.dumps,
)
def test_the_shape_of_a_call(value: object, shape: bool) -> None:
    assert is_call_shape(value) is shape


def test_the_longest_argument_is_still_one() -> None:
    value = json.dumps({"name": "find", "arguments": {"text": "line\n" * 100_000}})
    assert ends_in_call(f"I will write it.\n{value}", TOOLS)
