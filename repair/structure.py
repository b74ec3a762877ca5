"""Decides whether a missing closing bracket could only be missing in one place.

`{"a": {"b": 1, "c": 2}` may have lost its last bracket or the one before `"c"`. The schema must leave only
one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from repair.coerce import coerce, has_bare
from repair.schema import CompiledSchema
from repair.validate import is_valid

_MOST = 64


def is_only_placement(arguments: dict[str, Any], schema: CompiledSchema) -> bool:
    """Whether no other place for one missing bracket gives arguments that fit as well as `arguments`."""
    others = list(islice(_placements(arguments), _MOST + 1))
    if len(others) > _MOST:
        return False
    strict = _declared(arguments, schema, "")
    for other in others:
        value = coerce(other, schema).value
        if not has_bare(value) and is_valid(value, schema) and (not strict or _declared(value, schema, "")):
            return False
    return True


def _placements(value: Any) -> Iterator[Any]:
    """`value` with the tail of one nested container moved up into its parent, in every possible way."""
    if isinstance(value, dict):
        for key, child in value.items():
            if isinstance(child, dict):
                for kept, moved in _splits(list(child.items())):
                    if not any(name in value for name, _ in moved):
                        yield {**value, key: dict(kept), **dict(moved)}
            for other in _placements(child):
                yield {**value, key: other}
    elif isinstance(value, list):
        for index, child in enumerate(value):
            if isinstance(child, list):
                for kept, moved in _splits(child):
                    yield [*value[:index], kept, *moved, *value[index + 1 :]]
            for other in _placements(child):
                yield [*value[:index], other, *value[index + 1 :]]


def _splits(items: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    for at in range(1, len(items)):
        yield items[:at], items[at:]


def _declared(value: Any, schema: CompiledSchema, pointer: str) -> bool:
    """Whether every member of every object is one that its schema names, where the schema names any."""
    pointer, node = schema.resolve(pointer)
    if not isinstance(node, dict):
        return True
    if isinstance(value, list):
        return not isinstance(node.get("items"), dict) or all(
            _declared(item, schema, f"{pointer}/items") for item in value
        )
    properties = node.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return True
    return all(
        key in properties
        and _declared(item, schema, f"{pointer}/properties/{key.replace('~', '~0').replace('/', '~1')}")
        for key, item in value.items()
    )
