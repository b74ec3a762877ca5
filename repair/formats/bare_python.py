"""Python calls as the whole message: Llama 3.2 and 4 without their markers, Gemma 3 in a `tool_code` fence.

[f(a='x', b=1), g()]
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from repair.names import resolve_name
from repair.pythonic import read_python_calls, render_python
from repair.regions import Region, skip_space
from repair.tools import ToolSet
from repair.types import Fix, FixKind, Problem, ToolCall

NAME = "bare_python"
OPENERS: tuple[str, ...] = ()
CLOSERS: tuple[str, ...] = ()
REASONING: tuple[tuple[str, str], ...] = ()
FENCE = "```"

_FENCE = re.compile(r"```(?:tool_code|python|tool_call)[ \t]{0,9}\r?\n\s{0,40}")
_FENCE_START = re.compile(r"`{1,2}\Z|```[a-z_]{0,10}[ \t]{0,9}\r?\Z")
_CALL = re.compile(r"(?P<list>\[\s{0,40})?(?P<name>[A-Za-z_][\w.-]{0,63})\s{0,9}\(")
_CALL_START = re.compile(r"(?:\[\s{0,40})?(?:[A-Za-z_][\w.-]{0,63}\s{0,9})?\Z")


def may_begin(text: str, tools: ToolSet) -> bool | None:
    """Whether a message that begins with `text` may be bare Python calls; None: too short to tell."""
    fenced = text.startswith("`")
    if fenced:
        fence = _FENCE.match(text)
        if fence is None:
            return None if _FENCE_START.match(text) else False
        text = text[fence.end() :]
    found = _CALL.match(text)
    if found is None:
        start = _CALL_START.match(text) if fenced or text.startswith("[") else None
        return None if start else False
    return (fenced or bool(found.group("list"))) and _is_declared(found.group("name"), tools)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    """The calls at `at`, if the first names a declared tool."""
    fence = _FENCE.match(text, at)
    body = fence.end() if fence else at
    found = read_python_calls(text, body, listed=text.startswith("[", skip_space(text, body)))
    if found is None or not found.calls or not _is_declared(found.calls[0].name, tools):
        return None
    calls = list(found.calls)
    end = len(text) if calls[-1].problems else found.end
    if fence and not calls[-1].problems:
        end = skip_space(text, end)
        if not text.startswith(FENCE, end):
            return None
        end += len(FENCE)
        fix = Fix(FixKind.markdown_fence, "", fence.group(), "")
        calls[0] = replace(calls[0], fixes=(fix, *calls[0].fixes))
    return Region(at, end, body, tuple(calls))


def _is_declared(name: str, tools: ToolSet) -> bool:
    return not isinstance(resolve_name(name, tools), Problem)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "[" + ", ".join(render_python(one.name, json.loads(one.arguments)) for one in calls) + "]"
