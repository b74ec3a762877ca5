"""Which arguments of a refused call stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from repair.tools import ToolSet
from repair.types import Problem, ToolCall, ToolDefinition
from repair.valid_arguments import right_arguments

TRIP: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "days": {"type": "integer", "maximum": 9},
        "stay": {"type": "object", "properties": {"stars": {"type": "integer"}}},
        "a/b": {"enum": ["x", "y"]},
    },
    "required": ["city"],
    "additionalProperties": False,
}

# arguments as the model wrote them -> what of them is right
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "one_is_wrong": ('{"city": "Oslo", "days": "soon"}', {"city": "Oslo"}),
    "one_is_missing": ('{"days": 3}', {"days": 3}),
    "one_is_not_declared": ('{"city": "Oslo", "weather": 1}', {"city": "Oslo"}),
    "wrong_deep_inside": ('{"city": "Oslo", "stay": {"stars": "five"}}', {"city": "Oslo"}),
    "a_key_with_a_slash": ('{"city": "Oslo", "a/b": "z"}', {"city": "Oslo"}),
    "all_are_wrong": ('{"city": "O", "days": 10}', {}),
    "a_key_given_twice": ('{"city": "Oslo", "city": "Rome", "days": "soon"}', {}),
    "broken": ('{"city": "Oslo", "days": ', {}),
    "no_object": ('["Oslo"]', {}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stands(name: str) -> None:
    text, right = CASES[name]
    tools = ToolSet.compile([ToolDefinition("trip", "", TRIP)])
    assert right_arguments(ToolCall("trip", text), tools, ()) == right


def test_problems_count_beside_the_schema() -> None:
    tools = ToolSet.compile([ToolDefinition("trip", "", TRIP)])
    call = ToolCall("trip", '{"city": "Oslo", "days": 3, "a/b": "x"}')
    told = (Problem("/a~1b", "untyped", "what type it is cannot be told"),)
    assert right_arguments(call, tools, told) == {"city": "Oslo", "days": 3}


@pytest.mark.parametrize("key", ["anyOf", "allOf", "dependentRequired", "if", "$ref", "minProperties"])
def test_nothing_stands_where_arguments_depend_on_each_other(key: str) -> None:
    tangled: Any = {
        "anyOf": [{"required": ["days"]}],
        "allOf": [{"required": ["days"]}],
        "dependentRequired": {"city": ["days"]},
        "if": {"required": ["city"]},
        "$ref": "#/$defs/more",
        "minProperties": 2,
    }
    schema = {**TRIP, key: tangled[key], "$defs": {"more": {"required": ["days"]}}}
    tools = ToolSet.compile([ToolDefinition("trip", "", schema)])
    assert right_arguments(ToolCall("trip", '{"city": "Oslo", "days": "soon"}'), tools, ()) == {}


def test_too_much_is_wrong_to_tell_what_is_right() -> None:
    many = {f"k{i}": {"type": "integer"} for i in range(500)}
    schema = {"type": "object", "properties": {"city": {"type": "string"}, **many}}
    tools = ToolSet.compile([ToolDefinition("trip", "", schema)])
    call = ToolCall("trip", json.dumps({"city": "Oslo", **dict.fromkeys(many, "no")}))
    assert right_arguments(call, tools, ()) == {}
    assert right_arguments(ToolCall("nobody", "{}"), tools, ()) == {}
