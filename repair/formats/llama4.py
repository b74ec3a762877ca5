"""Llama 4: Python calls in a list, between markers.

<|python_start|>[f(a='x'), g()]<|python_end|>
"""

from __future__ import annotations

import json

from repair.formats.lfm2 import parse_python
from repair.pythonic import render_python
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "llama4"
OPEN = "<|python_start|>"
CLOSE = "<|python_end|>"
OPENERS = (OPEN,)
CLOSERS = (CLOSE,)
REASONING: tuple[tuple[str, str], ...] = ()


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return parse_python(text, at, at + len(OPEN), (CLOSE,), tools)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ", ".join(render_python(one.name, json.loads(one.arguments)) for one in calls)
    return f"{OPEN}[{items}]{CLOSE}"
