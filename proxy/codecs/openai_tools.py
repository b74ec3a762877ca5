"""The tools of a Chat Completions request, and the choice among them.

The client executes functions, and `custom` tools, which the model is shown as functions. What a provider
executes itself (`web_search`) is passed on as it was declared.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.codecs.custom_tools import custom_tool
from proxy.codecs.fields import Fields, describe, refuse
from proxy.codecs.hints import POLLING
from proxy.codecs.limits import check_choice
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ToolChoice, ToolMode, tools_left_out
from repair.types import ToolDefinition

_log = logging.getLogger(__name__)

# Tells an upstream that keeps prefixes where one ends.
_MARK = "cache_control"
_OF_FUNCTION = frozenset({"name", "description", "parameters", "strict", POLLING})
_OF_TOOL = _OF_FUNCTION | {"type", "function"}
# Types of tools that the client executes; all others are a provider's.
_OF_CLIENT = (None, "function", "custom")
# Types of tools whose calls are no calls of functions.
_CALLED_OTHERWISE = ("builtin_function",)


@dataclass(frozen=True, slots=True)
class ChatTools:
    """The tools of a request by name, where each was declared and what stood beside it, and the choice among
    them.

    custom: the names of those that take free text.
    legacy: they came as `functions`, which are called one at a time and by `function_call`.
    hosted: as in ChatRequest.
    left_out: why others are not there.
    """

    definitions: dict[str, ToolDefinition]
    paths: dict[str, str]
    extra: dict[str, dict[str, Any]]
    choice: ToolChoice
    custom: frozenset[str]
    legacy: bool
    hosted: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()


def decode_tools(body: Fields) -> ChatTools:
    """Raises BadRequest naming the field."""
    definitions: dict[str, ToolDefinition] = {}
    paths: dict[str, str] = {}
    extra: dict[str, dict[str, Any]] = {}
    custom: set[str] = set()
    for fields, declared in _declarations(body):
        free = declared.string("type") == "custom"
        tool = custom_tool(fields, fields.required_string("name")) if free else _function(fields)
        # The first of two tools of one name counts: it is the only one that the model will be shown.
        if definitions.setdefault(tool.name, tool) is tool:
            paths[tool.name] = fields.path
            if free:
                custom.add(tool.name)
            if beside := _beside(declared, fields):
                extra[tool.name] = beside
        else:
            _log.debug("%s: tool %r is declared twice, the first counts", fields.path, tool.name)
    others = [one for one in body.array("tools") if one.get("type") not in _OF_CLIENT]
    hosted = [one for one in others if one["type"] not in _CALLED_OTHERWISE]
    choice, allowed = _tool_choice(body, {one["type"] for one in hosted})
    if allowed is not None:
        definitions = {name: tool for name, tool in definitions.items() if name in allowed.names}
        hosted = [one for one in hosted if one["type"] in allowed.kinds]
    check_choice(choice, definitions, hosted=bool(hosted))
    legacy = bool(body.array("functions")) and not body.array("tools")
    left_out = tools_left_out(one for one in others if one["type"] in _CALLED_OTHERWISE)
    return ChatTools(definitions, paths, extra, choice, frozenset(custom), legacy, tuple(hosted), left_out)


def _beside(declared: Fields, function: Fields) -> dict[str, Any]:
    """What a declaration says beside the tool: the mark in its function counts as its own."""
    if declared.string("type") == "custom":
        return {_MARK: declared.values[_MARK]} if declared.values.get(_MARK) else {}
    told = {} if declared is function else _others(declared, _OF_TOOL)
    inner = _others(function, _OF_TOOL if declared is function else _OF_FUNCTION)
    if mark := inner.pop(_MARK, None):
        told.setdefault(_MARK, mark)
    if function.values.get("strict") is False:
        inner["strict"] = False
    return {**told, "function": inner} if inner else told


def _others(fields: Fields, known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.values.items() if value is not None and key not in known}


def _declarations(body: Fields) -> Iterator[tuple[Fields, Fields]]:
    """The objects that hold name and parameters of each function, in order, and what each stands in."""
    for i, item in enumerate(body.array("tools")):
        declared = Fields.of(item, f"tools[{i}]")
        function = _function_of(declared)
        if function is not None:
            yield function, declared
    for i, item in enumerate(body.array("functions")):
        function = Fields.of(item, f"functions[{i}]")
        yield function, function


def _function_of(fields: Fields) -> Fields | None:
    kind = fields.string("type", "function")
    if kind == "custom":
        return fields.object("custom") if "custom" in fields.values else fields
    if kind != "function":
        _log.debug("%s: tool type %r is not served, for an upstream alone", fields.path, kind)
        return None
    if fields.values.get("function") is None and "name" in fields.values:
        return fields  # the flat form of the Responses API
    if "function" not in fields.values:
        raise BadRequest(
            f"{fields.at('function')}: expected an object, got nothing", param=fields.at("function")
        )
    return Fields.of(fields.values["function"], fields.at("function"))


def _function(fields: Fields) -> ToolDefinition:
    name = fields.required_string("name")
    return ToolDefinition(
        name=name,
        description=fields.string("description"),
        parameters=fields.object("parameters").values or {"type": "object", "properties": {}},
        strict=fields.boolean("strict"),
    )


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a choice of the type `allowed_tools` is limited to: names of functions, types of hosted tools."""

    names: frozenset[str]
    kinds: frozenset[str]


def _tool_choice(body: Fields, hosted: Collection[str]) -> tuple[ToolChoice, _Allowed | None]:
    """The choice, and what it is limited to. hosted: the types of hosted tools."""
    key = "tool_choice" if body.values.get("tool_choice") is not None else "function_call"
    value = body.values.get(key)
    match value:
        case None:
            return ToolChoice(), None
        case str():
            return ToolChoice(tool_mode(key, value)), None
        case dict():
            return _choice_object(Fields(value, key), hosted)
        case _:
            refuse(key, "a string or an object", value)


def tool_mode(path: str, value: str) -> ToolMode:
    """path: of the value. Raises BadRequest."""
    mode = {
        "auto": ToolMode.auto,
        "none": ToolMode.none,
        "required": ToolMode.required,
        "any": ToolMode.required,
    }
    if value not in mode:
        raise BadRequest(f"{path} must be auto, none, required or a tool, got {describe(value)}", param=path)
    return mode[value]


def _choice_object(fields: Fields, hosted: Collection[str]) -> tuple[ToolChoice, _Allowed | None]:
    kind = fields.string("type", "function")
    if kind == "allowed_tools":
        inner = fields.object("allowed_tools") if "allowed_tools" in fields.values else fields
        entries = [Fields.of(t, f"{inner.at('tools')}[{i}]") for i, t in enumerate(inner.array("tools"))]
        return ToolChoice(tool_mode(inner.at("mode"), inner.string("mode", "auto"))), _allowed(entries)
    if kind in ("auto", "none", "required", "any"):
        return ToolChoice(tool_mode(fields.at("type"), kind)), None
    if kind in hosted:
        return ToolChoice(hosted=fields.values), None
    return ToolChoice(ToolMode.named, _choice_name(fields)), None


def _allowed(entries: Iterable[Fields]) -> _Allowed:
    """An entry of another type that has no name is a hosted tool."""
    names: set[str] = set()
    kinds: set[str] = set()
    for entry in entries:
        kind = entry.string("type", "function")
        if kind in _OF_CLIENT or "name" in entry.values or "function" in entry.values:
            names.add(_choice_name(entry))
        else:
            kinds.add(kind)
    return _Allowed(frozenset(names), frozenset(kinds))


def _choice_name(fields: Fields) -> str:
    nested = next((kind for kind in ("function", "custom") if kind in fields.values), "")
    inner = fields.object(nested) if nested else fields
    return inner.required_string("name")
