"""LFM2 and LFM2.5: Python calls in a list, between markers. Some fine-tunes put JSON there.

<|tool_call_start|>[f(a="x"), g()]<|tool_call_end|>
"""

from __future__ import annotations

import json
from dataclasses import replace

from repair.pythonic import read_python_calls, render_python
from repair.raw_quotes import read_raw_quotes
from repair.regions import Region, close_region, read_json_calls, skip_space
from repair.tools import ToolSet
from repair.types import Fix, ToolCall

NAME = "lfm2"
OPEN = "<|tool_call_start|>"
CLOSE = "<|tool_call_end|>"
OPENERS = (OPEN,)
CLOSERS = (CLOSE,)
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return parse_python(text, at, at + len(OPEN), (CLOSE,), tools)


def parse_python(
    text: str,
    at: int,
    body: int,
    closers: tuple[str, ...],
    tools: ToolSet,
    listed: bool = True,
    inside: bool = False,
) -> Region | None:
    """Python calls between markers; JSON in their place is read too. None where neither is there.

    inside: as in read_python_calls.
    """
    found = read_python_calls(text, body, listed, inside)
    if found is None or not found.calls:
        return read_json_calls(text, at, skip_space(text, body), closers)
    calls = found.calls
    if calls[-1].problems:
        quoted = None if inside or len(calls) > 1 else read_raw_quotes(text, at, body, listed, closers, tools)
        return quoted or Region(at, found.end, body, tuple(calls), closed=False)
    fixes: list[Fix] = []
    end, closed, problem = close_region(text, found.end, closers, fixes)
    calls += [problem] if problem else []
    calls[-1] = replace(calls[-1], fixes=(*calls[-1].fixes, *fixes))
    return Region(at, end, body, tuple(calls), closed)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ", ".join(render_python(one.name, json.loads(one.arguments)) for one in calls)
    return f"{OPEN}[{items}]{CLOSE}"
