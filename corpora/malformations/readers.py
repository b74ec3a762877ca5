"""Other readers for the same argument texts: json.loads and json-repair, each as people use it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import json_repair
import jsonschema_rs

Reader = Callable[[str, Mapping[str, Any]], dict[str, Any] | None]


def read_plainly(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """json.loads."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_repaired(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """json_repair.loads."""
    try:
        value = json_repair.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_guided(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """json_repair.loads with the schema, which it also validates against."""
    try:
        value = json_repair.loads(text, schema=dict(schema))
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def validated(reader: Reader) -> Reader:
    """The same, and what the schema refuses is refused."""

    def read(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        value = reader(text, schema)
        try:
            return value if value is not None and jsonschema_rs.is_valid(dict(schema), value) else None
        except UnicodeEncodeError:  # half a surrogate pair, which json.loads lets through
            return None

    return read


READERS: dict[str, Reader] = {
    "json.loads": read_plainly,
    "json.loads, then validated": validated(read_plainly),
    "json_repair": read_repaired,
    "json_repair, then validated": validated(read_repaired),
    "json_repair with schema": read_guided,
}
