"""Tells definitions of tools, which small models say back where they mean to call."""

from __future__ import annotations

import re
from typing import Any

from repair.tools import ToolSet

_KEYS = {"type", "name", "description", "parameters", "input_schema", "strict"}
_CLOSING = "</tools>"  # of the list in a prompt
_CHARS = 4000  # characters at the end of a text in which a definition is looked for
_DEFINED = re.compile(r"\"name\"\s{0,9}:\s{0,9}\"[^\"\n]{1,128}\"[^\n]{0,400}?\"parameters\"\s{0,9}:")


def is_definition(value: Any, tools: ToolSet) -> bool:
    """Whether it is the definition of a declared tool: small models say it back where they mean to call."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("function"), dict) and set(value) <= {"function", "type"}:
        value = value["function"]
    schema = value.get("parameters", value.get("input_schema"))
    is_schema = isinstance(schema, dict) and bool(schema.keys() & {"type", "properties"})
    return is_schema and value.get("name") in tools.names and set(value) <= _KEYS


def ends_in_definitions(tail: str) -> bool:
    """Whether a text ends as a prompt's list of tools does, with a definition before that."""
    return tail.endswith(_CLOSING) and _DEFINED.search(tail, max(0, len(tail) - _CHARS)) is not None
