"""Mistral: the name and its JSON behind one marker (v11 and later), or an array (before).

    [TOOL_CALLS]f{json}                [TOOL_CALLS]f[CALL_ID]id[ARGS]{json}
    [TOOL_CALLS] [{"name": "f", "arguments": {...}}]

Servers that use the marker as a trigger swallow it: `f[ARGS]{json}` is a call too if f is declared.
"""

from __future__ import annotations

import re
from dataclasses import replace

from repair.named import Named, read_named, render_named
from repair.regions import Region, match_literal, read_json_calls, skip_space
from repair.tools import ToolSet
from repair.types import Fix, FixKind, ToolCall

NAME = "mistral"
CALL = "[TOOL_CALLS]"
CALL_END = "[/TOOL_CALLS]"
ARGUMENTS = "[ARGS]"
OPENERS = (CALL,)
CLOSERS = (CALL_END,)
REASONING = (("[THINK]", "[/THINK]"),)
NAMED_OPENER = ("", ARGUMENTS)

_NAME = r"\s*(?P<name>[\w./-]{1,256})\s*"
FORM = Named(
    opener=CALL,
    head=re.compile(_NAME + r"(?:\[CALL_ID\]\s*\w{1,64}\s*)?(?:\[ARGS\]\s*|(?=\{))"),
)
BARE = Named(opener="", head=re.compile(_NAME + re.escape(ARGUMENTS) + r"\s*"))


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    if text.startswith(CALL, at):
        body = at + len(CALL)
        listed = read_json_calls(text, at, body, ())
        region = listed if listed is not None else read_named(text, at, FORM)
    else:
        region = _without_marker(text, at)
    if region is None:
        return None
    after = skip_space(text, region.end)
    closer = match_literal(text, after, CLOSERS)
    return replace(region, end=after + len(closer)) if closer else region


def _without_marker(text: str, at: int) -> Region | None:
    head = BARE.head.match(text, at)
    if head is None:
        return None
    name = head.group("name")
    one = Named(opener=name, head=re.compile(r"(?P<name>)" + re.escape(ARGUMENTS) + r"\s*"))
    region = read_named(text, at, one)
    if region is None:
        return None
    fix = Fix(FixKind.missing_tag, "", "", CALL)
    first = replace(region.calls[0], name=name, fixes=(fix, *region.calls[0].fixes))
    others = tuple(replace(call, name=name) for call in region.calls[1:])
    return replace(region, calls=(first, *others))


def render(calls: tuple[ToolCall, ...]) -> str:
    return "".join(render_named(one.name, one.arguments, CALL, ARGUMENTS) for one in calls)
