"""The tools of a Responses request, and the names under which the model knows them.

The model is shown functions alone, by one flat name each. A tool of a `namespace` group gets the group's
name in front; the client gets its calls back as `namespace` and `name`, since it does not know joined names.
A `custom` tool, which takes free text, becomes a function with one string.
A `tool_search` that the client executes is a function too, and what it finds is declared where it is found
(https://platform.openai.com/docs/guides/tools-tool-search).
Tools that run on a provider's servers (`web_search` and others) are left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.codecs.custom_tools import custom_tool
from proxy.codecs.fields import Fields, refuse
from proxy.codecs.limits import check_choice
from proxy.codecs.openai_tools import tool_mode
from proxy.conversation.request import ToolChoice, ToolMode, tool_object, tools_left_out
from repair.types import ToolDefinition

_log = logging.getLogger(__name__)

# The group whose tools are the top level's.
_TOP_LEVEL = "functions"
_JOIN = "__"
# The type of a tool, and its name as a function; the type of what it came to.
SEARCH = "tool_search"
SEARCH_OUTPUT = "tool_search_output"


@dataclass(frozen=True, slots=True)
class ToolName:
    """A tool as the client knows it.

    namespace: "" at the top level.
    custom: it is called with free text.
    search: it finds further tools, and is called by an item of its own.
    """

    namespace: str
    name: str
    custom: bool = False
    search: bool = False


@dataclass(frozen=True, slots=True)
class ToolNames:
    """told: what the client calls each tool, by its flat name. flat: the other way round."""

    told: Mapping[str, ToolName] = field(default_factory=dict)
    flat: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, namespace: str, name: str) -> str:
        """The flat name. A tool of the history that is not declared has the one that it would get."""
        space = "" if namespace == _TOP_LEVEL else namespace
        return self.flat.get((space, name)) or _joined(space, name)


@dataclass(frozen=True, slots=True)
class DeclaredTools:
    """The tools of a request.

    definitions: of the tools that may be called.
    paths: where each is declared, by its flat name.
    found: the flat names of those that a search has found, which the conversation declares.
    left_out: why others are not there.
    """

    definitions: tuple[ToolDefinition, ...]
    paths: Mapping[str, str]
    names: ToolNames
    choice: ToolChoice
    found: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()


def decode_tools(body: Fields, later: Sequence[Fields]) -> DeclaredTools:
    """later: items of the conversation that declare further tools. Raises BadRequest."""
    definitions: dict[str, ToolDefinition] = {}
    paths: dict[str, str] = {}
    told: dict[str, ToolName] = {}
    flat: dict[tuple[str, str], str] = {}
    found: list[str] = []
    for place, fields, known in _shown((body, *later)):
        key = (known.namespace, known.name)
        if key in flat:
            _log.debug("%s: tool %r is declared twice, the first counts", fields.path, known.name)
            continue
        name = _free(_joined(*key), told)
        definitions[name] = custom_tool(fields, name) if known.custom else _function(fields, name)
        paths[name], told[name], flat[key] = fields.path, known, name
        if place.string("type") == SEARCH_OUTPUT:
            found.append(name)
    names = ToolNames(told, flat)
    choice, allowed = _tool_choice(body, names)
    if allowed is not None:
        definitions = {name: tool for name, tool in definitions.items() if name in allowed}
    check_choice(choice, definitions)
    # a prompt without any tool at its head tells no form of a call
    in_place = frozenset() if len(found) == len(definitions) else frozenset(found)
    others = tools_left_out(one.values for one, _ in _tools((body, *later)) if not _is_served(one))
    return DeclaredTools(tuple(definitions.values()), paths, names, choice, in_place, others)


def _shown(places: Sequence[Fields]) -> Iterator[tuple[Fields, Fields, ToolName]]:
    """Where a tool is declared, its declaration and name; without those that a search of the client's own is
    still to find.
    """
    body = places[0]
    tools = [one for one in body.array("tools") if isinstance(one, dict)]
    searched = any(_is_client_search(one) for one in tools)
    for place in places:
        for fields, known in _declarations((place,)):
            if not (searched and place is body and fields.boolean("defer_loading")):
                yield place, fields, known


def search_result(item: Fields, tools: DeclaredTools) -> str:
    """What the model is told a search has found: each tool whole, where it is declared for the first time."""
    definitions = {tool.name: tool for tool in tools.definitions}
    lines: list[str] = []
    for fields, known in _declarations((item,)):
        name = tools.names.of(known.namespace, known.name)
        if tools.paths.get(name) == fields.path and name in definitions:
            declared = json.dumps(tool_object(definitions[name]), ensure_ascii=False)
            lines.append(f"A tool that can be called from now on:\n{declared}")
        else:
            lines.append(f"{name}: declared above")
    return "\n".join(lines) or "No tool was found."


def _joined(namespace: str, name: str) -> str:
    between = "" if not namespace or namespace.endswith(_JOIN) else _JOIN
    return f"{namespace}{between}{name}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Two tools of different groups may have one joined name."""
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _tools(places: Sequence[Fields]) -> Iterator[tuple[Fields, str]]:
    """Each tool, and the namespace it stands in."""
    for place in places:
        for i, item in enumerate(place.array("tools")):
            fields = Fields.of(item, f"{place.at('tools')}[{i}]")
            if fields.string("type") != "namespace":
                yield fields, ""
                continue
            group = fields.required_string("name")
            for j, inner in enumerate(fields.array("tools")):
                tool = Fields.of(inner, f"{fields.at('tools')}[{j}]")
                yield tool, "" if group == _TOP_LEVEL else group


def _declarations(places: Sequence[Fields]) -> Iterator[tuple[Fields, ToolName]]:
    for fields, namespace in _tools(places):
        kind = fields.string("type", "function")
        if _is_client_search(fields.values):
            yield fields, ToolName("", SEARCH, search=True)
            continue
        if not _is_served(fields):
            _log.info("%s: a tool of type %r runs at its provider only and is left out", fields.path, kind)
            continue
        if "name" not in fields.values and kind in fields.values:
            fields = fields.object(kind)  # as Chat Completions nests it
        yield fields, ToolName(namespace, fields.required_string("name"), kind == "custom")


def _is_served(tool: Fields) -> bool:
    return tool.string("type", "function") in ("function", "custom") or _is_client_search(tool.values)


def _is_client_search(tool: Mapping[str, Any]) -> bool:
    """One that the provider executes has no one here who would."""
    return tool.get("type") == SEARCH and tool.get("execution") == "client"


def _function(fields: Fields, name: str) -> ToolDefinition:
    return ToolDefinition(
        name=name,
        description=fields.string("description"),
        parameters=fields.object("parameters").values or {"type": "object", "properties": {}},
        # OpenAI's default is true, with which it rewrites the schema; here calls are validated in either case
        strict=fields.boolean("strict"),
    )


def _tool_choice(body: Fields, names: ToolNames) -> tuple[ToolChoice, frozenset[str] | None]:
    """The choice, and the flat names it is limited to where it has type `allowed_tools`."""
    value = body.values.get("tool_choice")
    match value:
        case None:
            return ToolChoice(), None
        case str():
            return ToolChoice(tool_mode("tool_choice", value)), None
        case dict():
            return _choice_object(Fields(value, "tool_choice"), names)
        case _:
            refuse("tool_choice", "a string or an object", value)


def _choice_object(fields: Fields, names: ToolNames) -> tuple[ToolChoice, frozenset[str] | None]:
    match fields.string("type", "function"):
        case "allowed_tools":
            inner = fields.object("allowed_tools") if "allowed_tools" in fields.values else fields
            entries = [Fields.of(t, f"{inner.at('tools')}[{i}]") for i, t in enumerate(inner.array("tools"))]
            # an entry without a name is a provider's own tool
            allowed = frozenset(_choice_name(entry, names) for entry in entries if _named(entry))
            return ToolChoice(tool_mode(inner.at("mode"), inner.string("mode", "auto"))), allowed
        case "auto" | "none" | "required" | "any" as mode:
            return ToolChoice(tool_mode(fields.at("type"), mode)), None
        case "function" | "custom":
            return ToolChoice(ToolMode.named, _choice_name(fields, names)), None
        case kind:
            _log.info("tool_choice: a tool of type %r is not served, so the model chooses", kind)
            return ToolChoice(), None


def _named(entry: Fields) -> bool:
    return "name" in entry.values or entry.string("type", "function") in ("function", "custom")


def _choice_name(fields: Fields, names: ToolNames) -> str:
    kind = fields.string("type", "function")
    inner = fields.object(kind) if kind in fields.values else fields
    return names.of(inner.string("namespace"), inner.required_string("name"))
