"""Flattened history, echoed: how some clients render past calls as text, and weak models then write them.

[Calling tool: f({json})]
[Calling tool="f" k="text" l="text"]
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from repair.regions import Region, problem_call, read_span, skip_extra_closers, skip_space
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import Bare, Body, Fix, RawCall, ToolCall

NAME = "calling"
OPENERS = ("[Calling tool: ", '[Calling tool="')
CLOSERS: tuple[str, ...] = ()
REASONING: tuple[tuple[str, str], ...] = ()

_CALL = re.compile(r"\[Calling tool: (?P<name>[\w./-]{1,256})\(\s*(?=[^\s)])")
_END = re.compile(r"\s*\)\s*\]")
_ATTRIBUTES = re.compile(r"\[Calling tool=\"(?P<name>[\w./-]{1,256})\"")
_KEY = re.compile(r"\s+(?P<key>\w{1,256})=(?=\")")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    head = _CALL.match(text, at)
    if head is None:
        return _parse_attributes(text, at)
    span = read_span(text, head.end(), (")]",))
    problems = (span.problem,) if span.problem else ()
    call = RawCall(head.group("name"), Body.arguments, span.text, span.closed, problems=problems)
    if problems:
        return Region(at, span.end, at, (call,), closed=False)
    fixes: list[Fix] = []
    end = _END.match(text, skip_extra_closers(text, span.end, fixes))
    if end is None:
        cut = problem_call(text[span.end :], "truncated", "the call is not closed")
        return Region(at, span.end, at, (call, cut), closed=False)
    return Region(at, end.end(), at, (replace(call, fixes=tuple(fixes)),))


def _parse_attributes(text: str, at: int) -> Region | None:
    head = _ATTRIBUTES.match(text, at)
    if head is None:
        return None
    tree: dict[str, Bare] = {}
    position = head.end()
    while (key := _KEY.match(text, position)) is not None:
        name = key.group("key")
        try:
            value, position = decode_strict(text, key.end())
        except ValueError:
            return _refused(text, at, "syntax", f"the value of {name!r} cannot be read")
        if name in tree:
            return _refused(text, at, "duplicate_parameter", f"{name!r} is given twice")
        tree[name] = Bare(value)
    position = skip_space(text, position)
    if not text.startswith("]", position):
        return _refused(text, at, "truncated", "the call is not closed")
    call = RawCall(head.group("name"), Body.tree, text[at : position + 1], True, tree)
    return Region(at, position + 1, at, (call,))


def _refused(text: str, at: int, rule: str, message: str) -> Region:
    return Region(at, len(text), at, (problem_call(text[at:], rule, message),), closed=False)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(f"[Calling tool: {one.name}({json.dumps(json.loads(one.arguments))})]" for one in calls)
