"""Texts that end in the shape of a call: where JSON was asked for, and of any length."""

from __future__ import annotations

import json

import pytest

from repair.endings import ends_in_call, is_call_shape
from repair.formats import FORMATS
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import ToolCall, ToolDefinition, Verdict

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


@pytest.mark.parametrize(
    ("text", "echoed"),
    [
        ('{"name": "get_weather", "description": "d", "parameters": {"properties": {}}}', True),
        ('{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}', True),
        ('```json\n{"name": "get_weather", "input_schema": {"type": "object"}}\n```', True),
        ('{"name": "get_weather", "description": "Rain?", "parameters": {"properties": {"a": {}}}} ', True),
        ('{"name": "another", "description": "d", "parameters": {"properties": {}}}', False),
        ('{"name": "get_weather", "description": "d"}', False),
        ('{"name": "get_weather", "parameters": {"type": "object"}, "author": "me"}', False),
        ('It is {"name": "get_weather", "description": "d", "parameters": {"type": "object"}}', False),
        ('Its definition:\n{"name": "get_weather", "parameters": {"properties": {}}}', False),
    ],
)
def test_a_declared_tool_said_back_is_meant_as_a_call(text: str, echoed: bool) -> None:
    assert ends_in_call(text, TOOLS) is echoed
    assert not ends_in_call(text, TOOLS, json_asked=True)


def test_the_longest_argument_is_still_one() -> None:
    value = json.dumps({"name": "find", "arguments": {"text": "line\n" * 100_000}})
    assert ends_in_call(f"I will write it.\n{value}", TOOLS)


def test_a_fence_in_a_string_is_none() -> None:
    inside = json.dumps({"name": "find", "arguments": {"text": "```json\n{}\n```", "more": "```"}})
    assert ends_in_call(f"```json\n{inside}\n{inside}\n```", TOOLS)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("mistral", '[TOOL_CALLS]get_wea\ufffdther[ARGS]{"a": 1}[TOOL_CALLS]get_weather[ARGS]{"a": 2}'),
        ("calling", '[Calling tool: get_weather({"a": 1})]\n[Calling tool: get_wea\ufffdther({"a": 2})]'),
        ("functionary", '>>>get_weather\n{"a": 1}\n>>>get_\ufffdweather\n{"a": 2}'),
    ],
)
def test_beside_a_name_that_is_no_utf_8_no_call_is_made(format: str, text: str) -> None:
    turn = Turn(TOOLS, format)
    turn.feed(text)
    closed = turn.close("stop")
    assert (closed.verdict, closed.calls) == (Verdict.reask, ())


_BEGUN = [name for name, form in FORMATS.items() if any(one[:1] in "<[]\u273f" for one in form.OPENERS)]


@pytest.mark.parametrize(
    "declared", [("get_weather", "get_time"), ("other",)], ids=["declared", "undeclared"]
)
@pytest.mark.parametrize("format", _BEGUN)
def test_a_call_that_ends_anywhere_behind_its_marker_is_no_text(
    format: str, declared: tuple[str, ...]
) -> None:
    """The model stops after `<tool_call>`, in a name, before the arguments: it is asked again."""
    tools = ToolSet.compile([ToolDefinition(name) for name in declared])
    text = FORMATS[format].render((ToolCall("get_weather", '{"city": "Oslo"}'),))
    opener = min(len(one) for one in FORMATS[format].OPENERS if text.startswith(one))
    silent = []
    for before, wire in (("", format), ("", "auto"), ("I will look.\n", "auto")):
        for end in range(opener, len(text)):
            turn = Turn(tools, wire, TurnPolicy())
            turn.feed(before + text[:end])
            if turn.close("stop").verdict is Verdict.none:
                silent.append(before + text[:end])
    assert silent == []


@pytest.mark.parametrize(
    "text",
    [
        "Models begin a call with `<tool_call>\n<function=get_`",
        "They write <tool_call>get_ and then more.",
        "They write <tool_call>something_else",
        "`<tool_call>`\nget_ is how it would begin.",
    ],
)
def test_a_beginning_of_no_call_is_text(text: str) -> None:
    turn = Turn(TOOLS, "auto", TurnPolicy())
    turn.feed(text)
    assert turn.close("stop").verdict is Verdict.none
