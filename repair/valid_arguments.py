"""Finds the arguments of a refused call that were right, so that the model need not write them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from repair.limits import LIMITS
from repair.schema import CompiledSchema
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import Problem, ToolCall

# Keywords at the top of a schema by which one argument's value can depend on another's.
_TANGLED = frozenset(
    "allOf anyOf oneOf not if $ref $dynamicRef dependentSchemas dependentRequired dependencies propertyNames "
    "patternProperties minProperties maxProperties unevaluatedProperties".split()
)
# Rules about all arguments together that concern none of those which are there and declared.
_OF_OTHERS = frozenset(("required", "additionalProperties"))


def right_arguments(call: ToolCall, tools: ToolSet, problems: Sequence[Problem]) -> dict[str, Any]:
    """The declared arguments, at the top level, in which neither the schema nor `problems` finds anything
    wrong.

    None are right where the arguments are not a sound JSON object, or where the schema makes one depend on
    another. call: as the model wrote it.
    """
    tool = tools.get(call.name)
    if tool is None or _TANGLED & tool.schema.root.keys():
        return {}
    try:
        value, end = decode_strict(call.arguments)
    except ValueError:
        return {}
    if not isinstance(value, dict) or call.arguments[end:].strip():
        return {}
    wrong = _wrong(value, tool.schema)
    if wrong is None:
        return {}
    wrong |= {_first(problem.path) for problem in (*problems, *tool.text_problems(value))}
    return {key: one for key, one in value.items() if key in tool.schema.properties and key not in wrong}


def _wrong(arguments: Mapping[str, Any], schema: CompiledSchema) -> set[str] | None:
    """Names of the arguments that the schema refuses; None where it refuses more than single ones."""
    names: set[str] = set()
    for count, error in enumerate(islice(schema.validator.iter_errors(arguments), LIMITS.problems + 1)):
        if count == LIMITS.problems:
            return None
        if error.instance_path:
            names.add(str(error.instance_path[0]))
        elif not error.schema_path or str(error.schema_path[-1]) not in _OF_OTHERS:
            return None
    return names


def _first(path: str) -> str:
    """The argument that a JSON pointer leads into; "" for the whole."""
    return path.split("/")[1].replace("~1", "/").replace("~0", "~") if path else ""
