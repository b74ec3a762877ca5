"""Gemma 4: a call with unquoted keys, and strings between quoting tokens that need no escaping.

    <|tool_call>call:f{k:<|"|>v<|"|>,n:1,l:[1,2]}<tool_call|>

Also seen: no envelope, round brackets, `:` before the name, words without quotes.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from repair.gemma import Quotes, read_members, write_value
from repair.names import resolve_name
from repair.regions import Region, close_region, skip_space
from repair.tools import ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall, ToolCall

NAME = "gemma4"
OPEN, CLOSE = "<|tool_call>", "<tool_call|>"
CALL = "call:"
OPENERS = (OPEN,)
CLOSERS = (CLOSE,)
REASONING = (("<|channel>thought", "<channel|>"),)
DROPPED = ("<|tool_response>",)
NAMED_OPENER = (CALL, "{")
QUOTES = Quotes('<|"|>')

_HEAD = re.compile(r"\s*(?P<mark>:?call:|:)?\s*(?P<name>[\w./-]{1,256})?\s*(?P<open>[{(])")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    enveloped = text.startswith(OPEN, at)
    return parse_call(text, at, OPEN if enveloped else "", (CLOSE,), QUOTES, tools)


def parse_call(
    text: str, at: int, opener: str, closers: tuple[str, ...], quotes: Quotes, tools: ToolSet
) -> Region | None:
    """The call behind `opener`, or the bare call at `at`."""
    body = at + len(opener)
    head = _HEAD.match(text, body)
    if head is None:
        return None
    fixes: list[Fix] = []
    if head.group("mark") != CALL:
        fixes.append(Fix(FixKind.corrupted_marker, "", head.group("mark") or "", CALL))
    if head.group("open") == "(":
        fixes.append(Fix(FixKind.corrupted_marker, "", "(", "{"))
    name = head.group("name") or ""
    resolved = resolve_name(name, tools)
    keys = () if isinstance(resolved, Problem) else tuple(resolved[0].keys)
    found = read_members(text, head.end() - 1, keys, quotes, (*closers, CALL))
    fixes += found.fixes
    problems: tuple[Problem, ...] = (found.problem,) if found.problem else ()
    if problems:
        call = RawCall(name, Body.tree, text[body : found.end], False, {}, (), problems)
        return Region(at, found.end, body, (call,), closed=False)
    end, closed = found.end, True
    if opener:
        end, closed, problem = close_region(text, end, closers, fixes)
        problems = problem.problems if problem else ()
    else:
        fixes.append(Fix(FixKind.missing_tag, "", "", closers[0]))
        after = skip_space(text, end)
        end = next((after + len(one) for one in closers if text.startswith(one, after)), end)
    call = RawCall(name, Body.tree, text[body:end], True, found.tree, tuple(fixes), problems)
    return replace(Region(at, end, body, (call,)), closed=closed)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "".join(f"{OPEN}{CALL}{one.name}{render_arguments(one, QUOTES)}{CLOSE}" for one in calls)


def render_arguments(call: ToolCall, quotes: Quotes) -> str:
    """The arguments of one call, braces included."""
    return write_value(json.loads(call.arguments), quotes)
