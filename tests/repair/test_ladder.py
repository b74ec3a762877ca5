"""Single rungs: names, coercion through branches and references, structure, limits, corrections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from repair.jsonl import repair_arguments, repair_request
from repair.ladder import repair_call
from repair.limits import LIMITS
from repair.names import resolve_name
from repair.reask import correction, says_back
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import Accepted, Body, FixKind, Problem, RawCall, Rejected, ToolDefinition, Verdict
from tests.repair.corpus import CASES


def test_every_fix_has_a_case() -> None:
    seen = {kind for case in CASES for kind in case.get("fixes", [])}
    assert {kind.value for kind in FixKind} == seen


def tools_named(*names: str) -> ToolSet:
    return ToolSet.compile([ToolDefinition(name) for name in names])


@pytest.mark.parametrize(
    ("name", "declared", "expected"),
    [
        ("read", ["read", "Read"], "read"),
        ("READ", ["read"], "read"),
        ("READ", ["read", "Read"], None),
        ("functions.read", ["read"], "read"),
        ("functions.read", ["read", "functions.read"], "functions.read"),
        ("functions.Read:0", ["read"], "read"),
        (" read\n", ["read"], "read"),
        ("read<|channel|>commentary", ["read"], "read"),
        ("read<|channel|>commentary", ["red"], None),
        ("reads", ["read"], None),
        ("red", ["read"], None),
        ("file.read", ["read"], "read"),
        ("file.read", ["read", "file__read"], None),
        ("ReadFile", ["read_file"], None),
        ("", ["read"], None),
    ],
)
def test_names(name: str, declared: list[str], expected: str | None) -> None:
    found = resolve_name(name, tools_named(*declared))
    assert (None if isinstance(found, Problem) else found[0].name) == expected


DEFS = {"point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"$ref": "#/$defs/point"}, {"x": "1"}, {"x": 1}),
        ({"type": "array", "items": {"$ref": "#/$defs/point"}}, [{"x": "1"}, {"x": 2}], [{"x": 1}, {"x": 2}]),
        ({"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]}, {"x": "1"}, {"x": 1}),
        ({"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]}, '{"x": 1}', {"x": 1}),
        ({"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, "true", True),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", "5"),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": "integer", "minimum": 10}, "5", None),
        ({"type": "integer"}, 5.0, 5.0),
        ({"type": "integer"}, 5.5, None),
        ({"type": "integer"}, True, None),
        ({"type": "boolean"}, 1, None),
        ({"type": "string"}, 1.5, None),
        ({"type": "string"}, False, None),
        ({"const": "Yes"}, "YES", "Yes"),
        ({"enum": ["a", "A"]}, "á", None),
        ({"enum": ["ab", "AB"]}, "Ab", None),
        ({"enum": [1, 2]}, "2", 2),
        ({"type": "array", "items": {"type": "integer"}}, "5", [5]),
        ({"type": "array", "items": {"type": "integer"}}, 5, [5]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, 5, None),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, ["1", 2], [1, "2"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "1"}, {"a": 1}),
        ({"allOf": [{"type": "object"}, {"properties": {"x": {"type": "integer"}}}]}, {"x": "1"}, {"x": 1}),
        ({"pattern": "^a+$"}, "b", None),
    ],
)
def test_coercion(schema: dict[str, Any], value: Any, expected: Any) -> None:
    parameters = {"type": "object", "properties": {"v": schema}, "required": ["v"], "$defs": DEFS}
    tools = ToolSet.compile([ToolDefinition("f", "", parameters)])
    outcome = repair_arguments("f", json.dumps({"v": value}), tools)
    if expected is None and value != "null":
        assert isinstance(outcome, Rejected)
    else:
        assert isinstance(outcome, Accepted)
        assert json.loads(outcome.call.arguments) == {"v": expected}
        assert type(json.loads(outcome.call.arguments)["v"]) is type(expected)


NESTED = {
    "type": "object",
    "properties": {
        "a": {"type": "object", "properties": {"b": {"type": "integer"}, "c": {"type": "integer"}}},
        "d": {"type": "integer"},
        "free": {"type": "object"},
    },
}


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        ('{"a": {"b": 1, "c": 2}', True),
        ('{"a": {"b": 1, "d": 2}', False),
        ('{"free": {"b": 1, "d": 2}', False),
        ('{"free": {"b": 1}', True),
        ('{"d": 1, "a": {"b": 1, "c": 2', True),
    ],
)
def test_a_missing_bracket_has_only_one_place(arguments: str, accepted: bool) -> None:
    tools = ToolSet.compile([ToolDefinition("f", "", NESTED)])
    outcome = repair_call(RawCall("f", Body.arguments, arguments, closed=True), tools)
    assert isinstance(outcome, Accepted) is accepted
    assert isinstance(repair_arguments("f", arguments, tools), Rejected)


def test_branches_do_not_multiply_without_bound() -> None:
    branch = {"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}}}
    node = {"anyOf": [branch, {**branch, "required": ["v"]}]}
    schema = {"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    value: dict[str, Any] = {"v": "x"}
    tools = ToolSet.compile([ToolDefinition("f", "", schema)])
    for _ in range(60):
        value = {"n": value, "v": "1"}
        assert isinstance(repair_arguments("f", json.dumps(value), tools), Rejected)


@pytest.mark.parametrize(
    "text",
    [
        "{" * 50_000,
        "[" * 50_000,
        '{"a":' * 50_000,
        "\\" * 50_000,
        '"' * 50_001,
        '{"text": "' + '\\"' * 50_000,
        '{"a": ' + "[" * 400 + "]" * 400 + "}",
        '{"a": ' + "9" * 5000 + "}",
        "<tool_call>" * 5_000,
        '<tool_call>{"name": "f", "arguments": {"text": "' * 2_000,
        "<function=f>" * 5_000 + "<parameter=text>" * 5_000,
        "<think>" * 5_000,
        "call:f{" * 5_000,
        "f[ARGS]{" * 5_000,
        "<|tool_call_start|>[f(" * 5_000,
    ],
)
def test_hostile_text_is_an_outcome(text: str) -> None:
    tools = tools_named("f")
    assert isinstance(repair_arguments("f", text, tools), Rejected)
    turn = Turn(tools)
    turn.feed(text)
    assert turn.close("stop").calls == ()


def test_too_many_calls_are_refused() -> None:
    turn = Turn(tools_named("f"), "hermes")
    turn.feed('<tool_call>{"name": "f", "arguments": {}}</tool_call>' * (LIMITS.calls + 5))
    assert turn.close("stop").verdict is Verdict.reask
    listed = ", ".join(['{"name": "f", "arguments": {}}'] * (LIMITS.calls + 5))
    turn = Turn(tools_named("f"), "hermes")
    turn.feed(f"<tool_call>[{listed}]</tool_call>")
    assert turn.close("stop").verdict is Verdict.reask


def test_a_correction_names_place_reason_and_schema() -> None:
    tools = ToolSet.compile([ToolDefinition("f", "", {"type": "object", "required": ["city"]})])
    outcome = repair_arguments("f", "{}", tools)
    assert isinstance(outcome, Rejected)
    text = correction(outcome.problems, tools, "f")
    assert '"city" is a required property' in text
    assert '"required": ["city"]' in text
    assert correction((Problem("", "truncated", "cut"),), tools).count("\n") == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The tool call was not executed.", True),
        ("**The tool call was not executed**: I will try again.", True),
        ("\n> the tool call was not executed", True),
        ("If you meant a call, send it in the right form; I did.", True),
        ("Which city do you mean? The tool call was not executed.", False),
        ("The tool call was not executed yet, since the lamp is unknown.", False),
        ("(broken_markers)", False),
        ("...", False),
        ("", False),
    ],
)
def test_a_correction_said_back(text: str, expected: bool) -> None:
    problem = Problem("", "broken_markers", "the text ends like a tool call, but cannot be read as one")
    assert says_back(text, correction((problem,), ToolSet(()))) is expected


def test_a_loop_is_refused() -> None:
    request = {
        "channel": "tool_calls",
        "raw_output": '[{"name": "f", "arguments": {"a": 1}}]',
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    same = {"name": "f", "arguments": {"a": 1}}
    assert repair_request({**request, "preceding_calls": [same] * 3})["verdict"] == "clean"
    assert repair_request({**request, "preceding_calls": [same] * 4})["verdict"] == "reask"
    other = {"name": "f", "arguments": {"a": 2}}
    assert (
        repair_request({**request, "preceding_calls": [same, same, same, other, same]})["verdict"] == "clean"
    )


@pytest.mark.parametrize("language", ["", "xml", "json", "tool_call"])
def test_a_fence_around_nothing_but_a_call(language: str) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    fenced = f"```{language}\n{call}"
    texts = {f"{fenced}\n```\n": 1, f"{fenced}\n```\nSo.": 0, fenced: 0}
    for text, calls in texts.items():
        turn = Turn(tools_named("f"), "hermes")
        deltas = [delta for char in text for delta in turn.feed(char)]
        outcome = turn.close("stop")
        assert len(outcome.calls) == calls, text
        if calls:
            assert FixKind.markdown_fence in {fix.kind for fix in outcome.fixes}
        else:
            assert "".join(delta.text for delta in [*deltas, *outcome.events]) == text
