"""Which tool schemas are accepted, which are refused, and how they validate."""

from __future__ import annotations

from typing import Any

import pytest

from repair.offline import repair_arguments
from repair.tools import SchemaError, ToolSet
from repair.types import Accepted, Rejected, ToolDefinition

DRAFT7 = "http://json-schema.org/draft-07/schema#"
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["value"]}


def compile_one(parameters: dict[str, Any]) -> ToolSet:
    return ToolSet.compile([ToolDefinition("f", "", parameters)])


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "dict"},
        {"type": 5},
        {"type": "object", "properties": []},
        {"type": "object", "required": "city"},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:1/schema.json"}}},
        {"properties": {"a": {"pattern": "(("}}},
        {"properties": {"a": {"minimum": "low"}}},
        {"$ref": "#"},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        {"properties": {"a": {"const": float("nan")}}},
    ],
)
def test_what_is_no_schema_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as error:
        compile_one(parameters)
    assert error.value.tool_name == "f"


def test_a_deep_schema_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"properties": {"a": schema}}
    with pytest.raises(SchemaError):
        compile_one(schema)


def test_one_name_with_two_schemas_is_refused() -> None:
    twice = [ToolDefinition("f", "", {}), ToolDefinition("f", "", {"type": "object"})]
    with pytest.raises(SchemaError):
        ToolSet.compile(twice)
    assert len(ToolSet.compile([ToolDefinition("f"), ToolDefinition("f")])) == 1


@pytest.mark.parametrize(
    ("parameters", "arguments", "valid"),
    [
        ({}, '{"anything": [1]}', True),
        ({"$schema": DRAFT7, "properties": {"a": {"items": [{"type": "string"}]}}}, '{"a": [{}]}', False),
        ({"properties": {"a": {"items": [{"type": "string"}]}}}, '{"a": ["x", 2]}', True),
        (
            {"properties": {"a": {"type": "number", "maximum": 5, "exclusiveMaximum": True}}},
            '{"a": 5}',
            False,
        ),
        ({"$schema": "http://example.test/mine", "required": ["a"]}, '{"a": 1}', True),
        ({"$defs": {"node": NODE}, "$ref": "#/$defs/node"}, '{"value": 1, "next": {"value": 2}}', True),
        ({"$defs": {"node": NODE}, "$ref": "#/$defs/node"}, '{"value": 1, "next": {"next": {}}}', False),
        (
            {"definitions": {"s": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/s"}}},
            '{"a": "x"}',
            True,
        ),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"c": 1}', False),
        ({"properties": {"a": {"type": "string", "nullable": True}}}, '{"a": null}', True),
        ({"properties": {"nullable": {"type": "boolean"}}}, '{"nullable": true}', True),
        ({"properties": {"a": {"enum": ["x"], "type": "string", "nullable": True}}}, '{"a": null}', True),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, '{"a": "' + "a" * 60 + '!"}', False),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": ' + "9" * 400 + "}", True),
    ],
)
def test_full_validation(parameters: dict[str, Any], arguments: str, valid: bool) -> None:
    outcome = repair_arguments("f", arguments, compile_one(parameters))
    assert isinstance(outcome, Accepted if valid else Rejected)
    if isinstance(outcome, Accepted):
        assert outcome.call.arguments == arguments
        assert outcome.fixes == ()


def test_problems_point_at_the_value() -> None:
    schema = {"properties": {"a/b": {"items": {"properties": {"c": {"type": "integer"}}}}}}
    outcome = repair_arguments("f", '{"a/b": [{"c": 1}, {"c": "x"}]}', compile_one(schema))
    assert isinstance(outcome, Rejected)
    assert [(one.path, one.rule) for one in outcome.problems] == [("/a~1b/1/c", "type")]


def test_equal_schemas_are_compiled_once() -> None:
    first = compile_one({"type": "object", "properties": {"only": {"type": "string"}}})
    second = compile_one({"type": "object", "properties": {"only": {"type": "string"}}})
    one, two = first.get("f"), second.get("f")
    assert one is not None
    assert two is not None
    assert one.schema is two.schema
