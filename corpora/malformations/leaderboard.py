"""True calls from a folder of the Berkeley Function Calling Leaderboard (Patil et al.; Apache-2.0).

The files are not part of this project. `NAME.jsonl` holds tools and requests, `NAME.answers.jsonl` the
right calls, each argument as a list of acceptable values; in `irrelevance.jsonl` no call is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from corpora.malformations.specimen import ARGUMENTS, ELEMENTS, TAGGED, Specimen, Written
from corpora.malformations.table import Source
from repair.tools import SchemaError, ToolSet
from repair.types import ToolDefinition
from repair.validate import is_valid

_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
Case = tuple[tuple[ToolDefinition, ...], tuple[tuple[str, dict[str, Any]], ...]]


def _schema(node: Any) -> Any:
    """Their dialect of JSON Schema in ours."""
    if isinstance(node, list):
        return [_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: _schema(item) for key, item in node.items() if key not in ("default", "optional")}
    if isinstance(node.get("type"), str):
        result["type"] = _TYPES.get(node["type"], node["type"])
        if node["type"] == "any":
            del result["type"]
    return result


def _tools(functions: list[dict[str, Any]]) -> tuple[ToolDefinition, ...]:
    return tuple(
        ToolDefinition(one["name"], one.get("description", ""), _schema(one["parameters"]))
        for one in functions
    )


def _first(acceptable: Any) -> Any:
    """The first acceptable value; its own members may be lists of acceptable ones again."""
    value = next((one for one in acceptable if one != ""), None)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _first(item) if isinstance(item, list) else _plain(item)
            for key, item in value.items()
            if item != [""]
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _calls(truth: list[dict[str, Any]]) -> tuple[tuple[str, dict[str, Any]], ...]:
    calls = []
    for one in truth:
        ((name, arguments),) = one.items()
        given = {key: values for key, values in arguments.items() if values != [""] and values != []}
        calls.append((name, {key: _first(values) for key, values in given.items()}))
    return tuple(calls)


def load_cases(folder: Path) -> list[Case]:
    """Every request whose right calls fit the schemas, with its tools. Raises OSError, ValueError."""
    cases = []
    for path in sorted(folder.glob("*.answers.jsonl")):
        answers = {one["id"]: one["ground_truth"] for one in _lines(path)}
        for line in _lines(path.with_name(path.name.replace(".answers", ""))):
            tools = _tools(line["function"])
            calls = _calls(answers[line["id"]])
            if _is_sound(tools, calls):
                cases.append((tools, calls))
    return cases


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def _is_sound(tools: tuple[ToolDefinition, ...], calls: tuple[tuple[str, dict[str, Any]], ...]) -> bool:
    try:
        compiled = ToolSet.compile(tools)
    except SchemaError:
        return False
    for name, arguments in calls:
        tool = compiled.get(name)
        if tool is None or not set(arguments) <= set(tool.keys) or not is_valid(arguments, tool.schema):
            return False
    return True


def source_of(cases: list[Case]) -> Source:
    """Specimens drawn from the cases. Untyped text needs a type for every parameter."""
    typed = [one for one in cases if _has_types(one)]
    flat = [one for one in typed if not any(_nests(value) for _, given in one[1] for value in given.values())]
    single = [one for one in cases if len(one[1]) == 1]

    def draw(rng: Random, format: str) -> Specimen:
        pool = (
            flat
            if format in ELEMENTS
            else typed
            if format in TAGGED
            else single
            if format == ARGUMENTS
            else cases
        )
        tools, calls = rng.choice(pool)
        return Specimen(format, tools, calls, tuple(Written(name, value, "") for name, value in calls))

    return draw


def _nests(value: Any) -> bool:
    return isinstance(value, dict | list)


def _has_types(case: Case) -> bool:
    return all(
        isinstance(schema.get("type"), str)
        for tool in case[0]
        for schema in tool.parameters.get("properties", {}).values()
    )


def load_irrelevant(folder: Path) -> list[tuple[tuple[ToolDefinition, ...], str]]:
    """Tools and a request that none of them serves."""
    found = []
    for line in _lines(folder / "irrelevance.jsonl"):
        tools = _tools(line["function"])
        if _is_sound(tools, ()):
            found.append((tools, "\n".join(one["content"] for turn in line["question"] for one in turn)))
    return found
