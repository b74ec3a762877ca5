"""Which tool schemas are accepted, which are refused, and how they validate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from repair.jsonl import repair_arguments
from repair.loose_schema import loosen
from repair.schema import KEPT, compile_schema, forget_longest
from repair.tools import SchemaError, ToolSet
from repair.types import Accepted, Rejected, ToolDefinition

DRAFT7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["value"]}


def compile_one(parameters: dict[str, Any]) -> ToolSet:
    return ToolSet.compile([ToolDefinition("f", "", parameters)])


# parameters, arguments that still fit, arguments that still do not, and the places that are left out
SLOPPY: dict[str, tuple[dict[str, Any], str, str, list[str]]] = {
    "capitals": (
        {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
        '{"a": "x"}',
        '{"a": [1]}',
        [],
    ),
    "pythons_names": (
        {"type": "dict", "properties": {"a": {"type": "int"}, "b": {"type": ["str", "None"]}}},
        '{"a": 1, "b": null}',
        '{"a": "x"}',
        [],
    ),
    "any": ({"properties": {"a": {"type": "any"}, "b": {"type": "int"}}}, '{"a": [1]}', '{"b": "x"}', []),
    "required_in_the_property": (
        {"properties": {"a": {"type": "string", "required": True}, "b": {"required": False}}},
        '{"a": "x"}',
        '{"b": 1}',
        [],
    ),
    "required_as_a_word": ({"properties": {"a": {}}, "required": "a"}, '{"a": 1}', '{"b": 1}', []),
    "required_twice": ({"properties": {"a": {}}, "required": ["a", "a"]}, '{"a": 1}', "{}", []),
    "a_property_called_required": (
        {"properties": {"required": {"type": "BOOLEAN"}}},
        '{"required": true}',
        '{"required": "x"}',
        [],
    ),
    "php": ({"type": "object", "properties": []}, "{}", "[]", []),
    "numbers_as_words": ({"properties": {"a": {"minimum": "3"}}}, '{"a": 3}', '{"a": 2}', []),
    "a_boolean_as_a_word": (
        {"properties": {"a": {}}, "additionalProperties": "False"},
        '{"a": 1}',
        '{"b": 1}',
        [],
    ),
    "a_type_for_a_schema": ({"properties": {"a": "integer"}}, '{"a": 1}', '{"a": "x"}', []),
    "unknown_type": (
        {"properties": {"a": {"type": "date"}, "b": {"type": "integer"}}},
        '{"a": 5}',
        '{"b": "x"}',
        ["/properties/a/type"],
    ),
    "a_number_as_type": ({"type": 5, "required": ["a"]}, '{"a": 5}', "{}", ["/type"]),
    "lost_reference": (
        {"properties": {"a": {"$ref": "#/$defs/missing"}, "b": {"type": "integer"}}},
        '{"a": {"x": 1}}',
        '{"b": "x"}',
        ["/properties/a/$ref"],
    ),
    "reference_to_a_url": (
        {"properties": {"a": {"$ref": "http://127.0.0.1:1/schema.json"}}, "required": ["a"]},
        '{"a": 1}',
        "{}",
        ["/properties/a/$ref"],
    ),
    "two_lost_references": (
        {"properties": {"a": {"$ref": "#x"}, "b": {"items": {"$ref": "y.json"}}, "c": {"type": "integer"}}},
        '{"a": 1, "b": [2]}',
        '{"c": "x"}',
        ["/properties/a/$ref", "/properties/b/items/$ref"],
    ),
    "broken_pattern": (
        {"properties": {"a": {"pattern": "((", "type": "string"}}},
        '{"a": "x"}',
        '{"a": [1]}',
        ["/properties/a/pattern"],
    ),
    "a_word_for_a_number": (
        {"properties": {"a": {"minimum": "low", "maximum": 5}}},
        '{"a": -1}',
        '{"a": 6}',
        ["/properties/a/minimum"],
    ),
    "a_word_for_a_schema": (
        {"properties": {"a": "A path.", "b": {"type": "integer"}}, "additionalProperties": False},
        '{"a": 1}',
        '{"b": "x"}',
        ["/properties/a"],
    ),
    "required_of_nothing": ({"required": True, "type": "object"}, '{"a": 1}', "[]", ["/required"]),
    "inside_a_choice_of_one": (
        {"properties": {"a": {"oneOf": [{"type": "date"}, {"type": "string"}]}, "b": {"type": "integer"}}},
        '{"a": "x"}',
        '{"b": "x"}',
        ["/properties/a/oneOf"],
    ),
    "inside_a_not": (
        {"properties": {"a": {"not": {"$ref": "#/gone"}, "type": "string"}}},
        '{"a": "x"}',
        '{"a": [1]}',
        ["/properties/a/not"],
    ),
    "inside_any_of": (
        {"anyOf": [{"properties": {"a": {"type": "date"}}, "required": ["a"]}, {"required": ["b"]}]},
        '{"a": 1}',
        "{}",
        ["/anyOf/0/properties/a/type"],
    ),
    "with_what_depends_on_it": (
        {"$ref": "#/gone", "unevaluatedProperties": False, "required": ["a"]},
        '{"a": 1}',
        "{}",
        ["/$ref"],
    ),
    "loop": ({"$ref": "#", "required": ["a"]}, '{"a": 1}', "{}", ["/$ref"]),
    "loop_of_a_property": (
        {"properties": {"a": {"$ref": "#/properties/a"}, "b": {"type": "integer"}}},
        '{"a": 1}',
        '{"b": "x"}',
        ["/properties/a/$ref"],
    ),
    "loop_of_definitions": (
        {
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}},
            "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"type": "integer"}},
        },
        '{"a": 1}',
        '{"b": "x"}',
        ["/$defs/a/$ref"],
    ),
}


@pytest.mark.parametrize(("parameters", "good", "bad", "places"), SLOPPY.values(), ids=SLOPPY)
def test_of_a_sloppy_schema_the_rest_is_validated(
    parameters: dict[str, Any], good: str, bad: str, places: list[str]
) -> None:
    tools = compile_one(parameters)
    assert isinstance(repair_arguments("f", good, tools), Accepted)
    assert isinstance(repair_arguments("f", bad, tools), Rejected)
    assert [one.split(": ")[1] for one in tools.left_out] == places
    assert all(one.startswith("f: /") for one in tools.left_out)


def test_what_is_no_json_is_no_schema() -> None:
    with pytest.raises(SchemaError) as error:
        compile_one({"properties": {"a": {"const": float("nan")}}})
    assert error.value.tool_name == "f"


def test_a_deep_schema_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2000):
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


@pytest.mark.parametrize(("length", "most"), [(100, 1024), (10_000, 64), (100_000, 8), (300_000, 1)])
def test_the_longer_a_schema_the_fewer_of_its_kind_are_kept(length: int, most: int) -> None:
    schemas = [{"type": "object", "description": f"{at}" * length} for at in range(9)]
    first = [compile_schema(schema) for schema in schemas]
    again = [compile_schema(schema) for schema in schemas]
    kept = [one is two for one, two in zip(first, again, strict=True)]
    assert kept == [most > len(schemas)] * 9
    assert compile_schema(schemas[-1]) is again[-1]
    forget_longest()
    assert (compile_schema(schemas[-1]) is again[-1]) is (most > 1)


def test_what_is_kept_of_schemas_is_bounded() -> None:
    assert sum(length * kept.cache_parameters()["maxsize"] for length, kept in KEPT) < 13_000_000
    longest = {"type": "object", "description": "x" * KEPT[-1][0]}
    assert compile_schema(longest) is not compile_schema(longest)


class Counted(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def test_names_that_are_required_are_not_compared_with_each_other() -> None:
    names = [Counted(f"p{at}") for at in range(1000)]
    Counted.compared = 0
    root, left_out = loosen({"properties": {name: {"required": True} for name in names}}, lambda _: None)
    assert root["required"] == names
    assert not left_out
    assert Counted.compared < 10 * len(names)


@pytest.mark.parametrize("closed", [False, True], ids=["chain", "loop"])
def test_long_chains_of_references_are_followed(closed: bool) -> None:
    last = {"$ref": "#/properties/p0"} if closed else {"type": "string"}
    links = {f"p{at}": {"$ref": f"#/properties/p{at + 1}"} for at in range(2000)}
    compiled = compile_schema({"properties": {**links, "p2000": last}})
    assert bool(compiled.left_out) is closed
    assert compiled.validator.is_valid({"p1999": 5}) is closed


def test_all_references_that_lead_nowhere_are_found_at_once() -> None:
    lost = {f"p{at}": {"$ref": f"#/$defs/gone{at}"} for at in range(800)}
    root = {"type": "object", "properties": {**lost, "n": {"type": "integer"}}}
    asked: list[object] = []

    def find_fault(schema: dict[str, Any]) -> tuple[str, str] | None:
        asked.append(schema)
        return ("", "somewhere a reference is lost") if "gone" in json.dumps(schema) else None

    loose, left_out = loosen(root, find_fault)
    assert len(asked) == 2
    assert left_out[0] == "/properties/p0/$ref: '#/$defs/gone0' leads nowhere"
    assert left_out[-1] == "and 700 more"
    assert loose["properties"]["n"] == {"type": "integer"}
    assert not compile_schema(root).validator.is_valid({"n": "no number"})


def test_a_reference_by_a_name_stays_where_another_one_is_lost() -> None:
    parts = {"n": {"$anchor": "number", "type": "integer"}, "t": {"$id": "urn:text", "type": "string"}}
    named = {"a": {"$ref": "#number"}, "b": {"$ref": "urn:text"}, "c": {"$ref": "#/$defs/gone"}}
    compiled = compile_schema({"$schema": DRAFT_2020, "$defs": parts, "properties": named})
    assert compiled.left_out == ("/properties/c/$ref: '#/$defs/gone' leads nowhere",)
    assert not compiled.validator.is_valid({"a": "x"})
    assert not compiled.validator.is_valid({"b": 1})


def test_the_longer_a_schema_the_fewer_faults_are_looked_for() -> None:
    counts = []
    for length in (10, 100_000):
        asked: list[object] = []
        wrong = {f"p{at}": {"minimum": "x"} for at in range(200)}
        root = {"description": "x" * length, "properties": wrong}

        def find_fault(schema: dict[str, Any], asked: list[object] = asked) -> tuple[str, str]:
            asked.append(schema)
            name = next(name for name, part in schema["properties"].items() if part)
            return f"/properties/{name}/minimum", "no number"

        assert loosen(root, find_fault)[1][-1] == "all of it: too much of it is wrong"
        counts.append(len(asked))
    assert counts == [100, 10]


def chain(links: int, link: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    return {
        "properties": {**{f"p{at}": link(at + 1) for at in range(links)}, f"p{links}": {"type": "integer"}}
    }


@pytest.mark.parametrize(
    "link",
    [
        lambda at: {"$ref": f"#/properties/p{at}"},
        lambda at: {"items": {"properties": {"x": {"$ref": f"#/properties/p{at}"}}}},
    ],
    ids=["of references", "of arrays"],
)
def test_the_parts_of_a_long_chain_are_not_built(link: Callable[[int], dict[str, Any]]) -> None:
    assert compile_schema(chain(50, link)).accepts("/properties/p50", 5)
    long = compile_schema(chain(3000, link))
    assert not long.parts
    assert not long.accepts("/properties/p3000", 5)
    assert isinstance(
        repair_arguments("f", '{"p3000": "5"}', compile_one(chain(3000, link)), "stop"), Rejected
    )


@pytest.mark.parametrize("count", [4_000, 40_000])
def test_the_parts_of_a_schema_with_very_many_are_not_built(count: int) -> None:
    compiled = compile_schema({"properties": {f"p{at}": {"type": "integer"} for at in range(count)}})
    assert compiled.accepts("/properties/p1", 5) is (count < 20_000)


def test_the_parts_of_a_tree_that_refers_to_itself_are_built() -> None:
    node = {"properties": {f"p{at}": {"$ref": "#/$defs/node"} for at in range(300)}, "required": ["p0"]}
    compiled = compile_schema({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    assert compiled.accepts("/$defs/node", {"p0": {"p0": 1}}) is not compiled.accepts(
        "/$defs/node", {"p1": 1}
    )
