"""The tools of a Messages request, and the choice among them.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools

A tool is what has a name and an input_schema. Those that Anthropic's own servers would execute, or whose
schema only its models know, have a type instead and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.codecs.fields import Fields, describe
from proxy.codecs.limits import check_choice
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ToolChoice, ToolMode
from repair.types import ToolDefinition

_MODES = {
    "auto": ToolMode.auto,
    "any": ToolMode.required,
    "tool": ToolMode.named,
    "none": ToolMode.none,
}
_NO_PARAMETERS = {"type": "object", "properties": {}}
# Finds deferred tools on Anthropic's side, where nobody here could: without it they must all be shown.
_SERVER_SEARCH = "tool_search_tool"


@dataclass(frozen=True, slots=True)
class Tools:
    """known: by name, in the order of the request. deferred: names of those that the model is not shown until
    a message refers to them. paths: where each is declared. extra: as ChatRequest.tool_extra. left_out: why
    others are not there.
    """

    known: Mapping[str, ToolDefinition] = field(default_factory=dict)
    deferred: frozenset[str] = frozenset()
    paths: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def callable(self, referenced: Iterable[str], choice: ToolChoice) -> dict[str, ToolDefinition]:
        """Those that the model may call. referenced: names that messages refer to."""
        hidden = self.deferred - {*referenced, choice.name}
        return {name: tool for name, tool in self.known.items() if name not in hidden}


def decode_tools(body: Fields) -> Tools:
    """Raises BadRequest naming the field."""
    known: dict[str, ToolDefinition] = {}
    paths: dict[str, str] = {}
    extra: dict[str, dict[str, Any]] = {}
    deferred: set[str] = set()
    left_out: dict[str, str] = {}
    for i, item in enumerate(body.array("tools")):
        fields = Fields.of(item, f"tools[{i}]")
        kind = fields.string("type", "custom")
        if kind != "custom" and not isinstance(fields.values.get("input_schema"), dict):
            left_out[kind] = f"tool {fields.string('name', kind)} of type {kind} is not served here: left out"
            continue
        tool = _tool(fields)
        if known.setdefault(tool.name, tool) is not tool:
            left_out[tool.name] = f"tool {tool.name} is declared twice: the first one counts"
            continue
        paths[tool.name] = fields.path
        if mark := cache_mark(fields):
            extra[tool.name] = mark
        if fields.boolean("defer_loading"):
            deferred.add(tool.name)
    if any(kind.startswith(_SERVER_SEARCH) for kind in left_out):
        deferred.clear()
    return Tools(known, frozenset(deferred), paths, extra, tuple(left_out.values()))


def cache_mark(fields: Fields) -> dict[str, Any]:
    """Tells an upstream that keeps prefixes where one ends; {} where there is none."""
    return {"cache_control": mark} if (mark := fields.values.get("cache_control")) else {}


def _tool(fields: Fields) -> ToolDefinition:
    return ToolDefinition(
        name=fields.required_string("name"),
        description=fields.string("description"),
        parameters=fields.object("input_schema").values or _NO_PARAMETERS,
        strict=fields.boolean("strict"),
    )


def decode_choice(body: Fields) -> tuple[ToolChoice, bool]:
    """The choice, and whether several calls may be made at once. Raises BadRequest."""
    fields = body.object("tool_choice")
    kind = fields.string("type", "auto")
    if kind not in _MODES:
        known = ", ".join(_MODES)
        raise BadRequest(
            f"tool_choice.type must be one of {known}, got {describe(kind)}", param="tool_choice.type"
        )
    name = fields.required_string("name") if kind == "tool" else ""
    return ToolChoice(_MODES[kind], name), not fields.boolean("disable_parallel_tool_use")


def checked(choice: ToolChoice, tools: Mapping[str, ToolDefinition]) -> ToolChoice:
    """The choice, where it can be met. Raises BadRequest."""
    check_choice(choice, tools)
    return choice
