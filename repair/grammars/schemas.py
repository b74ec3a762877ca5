"""Reduces a JSON Schema to what llguidance can hold a text to.

What it supports: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md. A keyword beyond
that is left out, and the rest of its schema stays; validation still judges all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from repair.schema import escape

# one way to write white space, so that a model cannot fall into an endless run of it
OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "coerce_one_of": True,
}

_MAPS = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_LISTS = frozenset(("prefixItems", "anyOf", "allOf", "oneOf"))
_SCHEMAS = frozenset(("items", "additionalProperties"))
_VALUES = frozenset(("type", "enum", "const", "required", "minimum", "maximum", "multipleOf"))
_BOUNDS = {"minLength": 2_000, "maxLength": 2_000, "minItems": 200, "maxItems": 500}
_ASSERTIONS = frozenset(
    (
        *("minLength", "maxLength", "minItems", "maxItems", "pattern", "format", "$ref"),
        *("exclusiveMinimum", "exclusiveMaximum"),
        *(
            "not",
            "if",
            "then",
            "else",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
            "propertyNames",
        ),
        *("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
        *("unevaluatedItems", "minProperties", "maxProperties", "$dynamicRef", "contentEncoding"),
    )
)
_FORMATS = frozenset(
    ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
# look-around, back-references, word boundaries, and groups with names or flags
_BEYOND = re.compile(r"\(\?(?!:)|(?<!\\)(?:\\\\)*\\[bBkAzZ<>1-9]")


def reduce_schema(schema: Any, pointer: str = "") -> tuple[Any, list[str]]:
    """`schema` with only what can be constrained, and "pointer: feature" for everything else."""
    left_out: list[str] = []
    return _reduced(schema, pointer, left_out), left_out


def _reduced(node: Any, pointer: str, left_out: list[str]) -> Any:
    if not isinstance(node, Mapping):
        return node
    result: dict[str, Any] = {}
    for key, item in _modern(node).items():
        at = pointer + escape(key)
        if key in _MAPS and isinstance(item, Mapping):
            result[key] = _members(key, item, at, left_out)
        elif key in _LISTS and isinstance(item, list):
            result[key] = [_reduced(one, f"{at}/{index}", left_out) for index, one in enumerate(item)]
        elif key in _SCHEMAS:
            result[key] = _reduced(item, at, left_out)
        elif _is_kept(key, item):
            result[key] = item
        elif key in _ASSERTIONS:
            left_out.append(f"{pointer or '/'}: {key}")
    for key in _contradictions(result):
        del result[key]
        left_out.append(f"{pointer or '/'}: {key}")
    return result


def _contradictions(node: Mapping[str, Any]) -> list[str]:
    """Keywords that leave no value together with the others: one such schema would make the whole grammar
    impossible.
    """
    found = [
        key
        for least, most in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
        if least in node and most in node and node[least] > node[most]
        for key in (least, most)
    ]
    if "pattern" in node and "format" in node:
        found.append("format")
    kinds = [node["type"]] if isinstance(node.get("type"), str) else node.get("type", _ALL)
    options = node.get("enum")
    if isinstance(options, list) and not any(_kind(one) in kinds or _is_whole(one, kinds) for one in options):
        found.append("enum")
    return found


_ALL = ("string", "integer", "number", "boolean", "null", "array", "object")
_KINDS: dict[type, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _is_whole(value: Any, kinds: Any) -> bool:
    return "integer" in kinds and _kind(value) == "number" and value == int(value)


def _is_kept(key: str, item: Any) -> bool:
    if key in _VALUES:
        return True
    if key in _BOUNDS:
        return isinstance(item, int) and not isinstance(item, bool) and item <= _BOUNDS[key]
    match key:
        case "pattern":
            return isinstance(item, str) and not _BEYOND.search(item)
        case "format":
            return item in _FORMATS
        case "$ref":
            return isinstance(item, str) and (item == "#" or item.startswith("#/"))
        case "exclusiveMinimum" | "exclusiveMaximum":
            return not isinstance(item, bool)
    return False


def _modern(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node with a tuple of older drafts, whose `items` is a list, as `prefixItems`."""
    if not isinstance(node.get("items"), list):
        return node
    rest = {key: item for key, item in node.items() if key not in ("items", "additionalItems")}
    return {**rest, "prefixItems": node["items"], "items": node.get("additionalItems", True)}


def _members(key: str, item: Mapping[str, Any], at: str, left_out: list[str]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, schema in item.items():
        if key == "patternProperties" and _BEYOND.search(name):
            left_out.append(f"{at}{escape(name)}: pattern")
        elif schema is False:
            left_out.append(f"{at}{escape(name)}: false")
        else:
            members[name] = _reduced(schema, at + escape(name), left_out)
    return members


def object_schema(root: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The schema of a tool's arguments, which are always an object."""
    reduced, left_out = reduce_schema(root)
    return {"type": "object", **reduced, "x-guidance": OPTIONS}, left_out


def part_schema(root: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The schema of one member of the object `root` (reduced), able to stand alone."""
    part = root["properties"][key]
    base = part if isinstance(part, Mapping) else {}
    if not _has_references(part):
        return {**base, "x-guidance": OPTIONS}
    moved = _moved(root, "#/$defs/root")
    return {"$defs": {"root": moved}, "$ref": f"#/$defs/root/properties{escape(key)}", "x-guidance": OPTIONS}


def call_schema(tools: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Any]:
    """The schema of a call written as `{"name": ..., key: {...}}`. tools: name -> reduced schema of the
    arguments.
    """
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, key: {"$ref": f"#/$defs/{number}"}},
            "required": ["name", key],
            "additionalProperties": False,
        }
        for number, name in enumerate(tools)
    ]
    moved = {str(number): _moved(one, f"#/$defs/{number}") for number, one in enumerate(tools.values())}
    return {"$defs": moved, "anyOf": calls}


def _has_references(node: Any) -> bool:
    if isinstance(node, Mapping):
        return isinstance(node.get("$ref"), str) or any(_has_references(one) for one in node.values())
    return isinstance(node, list) and any(_has_references(one) for one in node)


def _moved(node: Any, root: str) -> Any:
    """`node`, without options, with its local references pointing to where its root now is."""
    if isinstance(node, Mapping):
        return {
            key: root + item[1:] if key == "$ref" and isinstance(item, str) else _moved(item, root)
            for key, item in node.items()
            if key != "x-guidance"
        }
    return [_moved(one, root) for one in node] if isinstance(node, list) else node
