"""MiniMax M3: every tag has a mark before it; a parameter is an element, an object or array holds elements.

]<]minimax[>[<tool_call>
]<]minimax[>[<invoke name="f">]<]minimax[>[<k>v]<]minimax[>[</k>]<]minimax[>[</invoke>
]<]minimax[>[</tool_call>

Items of an array are `<item>` elements. Text is typed by the schema. An object with a key that no tag can
hold is written as JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from repair.limits import LIMITS
from repair.regions import Region, close_region, skip_space
from repair.strict import encode
from repair.tools import ToolSet
from repair.types import Bare, Body, Fix, FixKind, Problem, RawCall, ToolCall

NAME = "minimax_m3"
MARK = "]<]minimax[>["
OPEN, CLOSE = f"{MARK}<tool_call>", f"{MARK}</tool_call>"
INVOKE, INVOKE_END = f'{MARK}<invoke name="', f"{MARK}</invoke>"
OPENERS = (OPEN, INVOKE)
CLOSERS = (CLOSE, INVOKE_END)
ENDS = (CLOSE,)
REASONING = (("<mm:think>", "</mm:think>"),)
ITEM = "item"

_HEAD = re.compile(re.escape(INVOKE) + r"(?P<name>[^<>\n\"]{1,256})\"\s*>")
_KEY = re.compile(r"[^<>/\n\"]{1,256}")
_TAG = re.compile(rf"{re.escape(MARK)}<(?P<end>/?)(?P<key>{_KEY.pattern})>")


class _Unclear(Exception):
    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem("", rule, message)


@dataclass(slots=True)
class _Reader:
    text: str
    at: int

    def elements(self, closer: str, depth: int) -> tuple[list[tuple[str, Any]], str]:
        """The elements up to the closing tag of `closer`, or the text where there are none."""
        if depth > LIMITS.nesting:
            raise _Unclear("nesting", f"nested deeper than {LIMITS.nesting} levels")
        found: list[tuple[str, Any]] = []
        start = self.at
        while True:
            tag = _TAG.search(self.text, self.at)
            if tag is None:
                raise _Unclear("truncated", f"{closer!r} does not end")
            between = self.text[self.at : tag.start()]
            key = tag.group("key")
            self.at = tag.end()
            if tag.group("end"):
                if key != closer:
                    raise _Unclear("syntax", f"the end of {closer!r} is due, got that of {key!r}")
                if found and between.strip():
                    raise _Unclear("trailing_text", f"text between elements: {between.strip()[:40]!r}")
                return found, "" if found else self.text[start : tag.start()]
            if between.strip():
                raise _Unclear("trailing_text", f"text before an element: {between.strip()[:40]!r}")
            found.append((key, self.value(key, depth + 1)))

    def value(self, key: str, depth: int) -> Any:
        found, text = self.elements(key, depth)
        if not found:
            return Bare(text, element=True)
        keys = [one for one, _ in found]
        if set(keys) == {ITEM}:
            return [value for _, value in found]
        if len(set(keys)) < len(keys):
            raise _Unclear("duplicate_parameter", f"{key!r} holds an element twice")
        return dict(found)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opened = text.startswith(OPEN, at)
    body = at + len(OPEN) if opened else at
    calls: list[RawCall] = []
    position = skip_space(text, body)
    while len(calls) <= LIMITS.calls and (head := _HEAD.match(text, position)) is not None:
        call, position = _read_call(text, head)
        calls.append(call)
        if call.problems:
            return Region(at, len(text), body, tuple(calls), closed=False)
        position = skip_space(text, position)
        if not opened:
            break
    if not calls:
        return None
    if not opened:
        fix = Fix(FixKind.missing_tag, "", "", OPEN)
        end = position + len(CLOSE) if text.startswith(CLOSE, position) else position
        return Region(at, end, body, (replace(calls[0], fixes=(fix,)),))
    fixes: list[Fix] = []
    end, closed, problem = close_region(text, position, (CLOSE,), fixes)
    calls[-1] = replace(calls[-1], fixes=tuple(fixes))
    return Region(at, end, body, (*calls, problem) if problem else tuple(calls), closed)


def _read_call(text: str, head: re.Match[str]) -> tuple[RawCall, int]:
    reader = _Reader(text, head.end())
    name = head.group("name").strip()
    try:
        found, rest = reader.elements("invoke", 0)
        keys = [key for key, _ in found]
        if rest.strip():
            raise _Unclear("trailing_text", f"text where a parameter is due: {rest.strip()[:40]!r}")
        if len(set(keys)) < len(keys):
            raise _Unclear("duplicate_parameter", "a parameter is given twice")
    except _Unclear as reason:
        problems = (reason.problem,)
        return RawCall(name, Body.tree, text[head.start() :], False, {}, problems=problems), len(text)
    return RawCall(name, Body.tree, text[head.start() : reader.at], True, dict(found)), reader.at


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = [f'{INVOKE}{one.name}">{_members(json.loads(one.arguments))}{INVOKE_END}\n' for one in calls]
    return f"{OPEN}\n{''.join(parts)}{CLOSE}"


def _members(value: dict[str, Any]) -> str:
    return "".join(f"{MARK}<{key}>{_write(item)}{MARK}</{key}>" for key, item in value.items())


def _write(value: Any) -> str:
    if isinstance(value, dict):
        named = all(_KEY.fullmatch(key) for key in value) and set(value) != {ITEM}
        return _members(value) if named else encode(value)
    if isinstance(value, list):
        return "".join(f"{MARK}<{ITEM}>{_write(item)}{MARK}</{ITEM}>" for item in value)
    return value if isinstance(value, str) else encode(value)
