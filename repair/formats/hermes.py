"""Hermes: JSON in tags. Hermes 2 Pro, Qwen2.5, Qwen3, SmolLM3, Granite 4 and many fine-tunes.

    <tool_call>
    {"name": "f", "arguments": {...}}
    </tool_call>

Also seen: several objects or an array in one tag, other names of the tag, and the tool's name before its
arguments: `<f>{json}</f>`, `f>{json}` or `f{json}`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from repair.regions import Region, close_region, match_literal, read_json_calls, read_span
from repair.tools import ToolSet
from repair.types import Body, Fix, FixKind, RawCall, ToolCall

NAME = "hermes"
OPEN = "<tool_call>"
CLOSE = "</tool_call>"
ALIASES = {"<tool_use>": "</tool_use>", "<toolcall>": "</toolcall>", "<function_call>": "</function_call>"}
OPENERS = (OPEN, *ALIASES)
CLOSERS = (CLOSE, *ALIASES.values())
REASONING = (("<think>", "</think>"),)


_NAMED = re.compile(r"\s*<?(?P<name>[\w./-]{1,256})>?\s*(?=\{)")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    closer = ALIASES.get(opener, CLOSE)
    body = at + len(opener)
    return read_json_calls(text, at, body, (closer,), (opener,)) or _read_named(text, at, body, closer)


def _read_named(text: str, at: int, body: int, closer: str) -> Region | None:
    head = _NAMED.match(text, body)
    if head is None or head.group().strip() in OPENERS:
        return None
    name = head.group("name")
    ends = (f"</{name}>", closer)
    span = read_span(text, head.end(), ends)
    fixes = [Fix(FixKind.corrupted_marker, "", head.group().strip(), "")]
    call = RawCall(
        name, Body.arguments, span.text, span.closed, problems=(span.problem,) if span.problem else ()
    )
    if span.problem:
        return Region(at, span.end, body, (call,), closed=False)
    end = span.end + len(ends[0]) if text.startswith(ends[0], span.end) else span.end
    end, closed, problem = close_region(text, end, (closer,), fixes)
    call = replace(call, fixes=tuple(fixes))
    return Region(at, end, body, (call, problem) if problem else (call,), closed)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(
        f'{OPEN}\n{{"name": "{one.name}", "arguments": {one.arguments}}}\n{CLOSE}' for one in calls
    )
