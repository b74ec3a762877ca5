"""Olmo 3: Python calls, one a line, between tags.

<function_calls>f(a='x')
g()</function_calls>
"""

from __future__ import annotations

import json

from repair.formats.lfm2 import parse_python
from repair.pythonic import may_be_call, render_python
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "olmo3"
OPEN = "<function_calls>"
CLOSE = "</function_calls>"
OPENERS = (OPEN,)
CLOSERS = (CLOSE,)
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    body = at + len(OPEN)
    return parse_python(text, at, body, (CLOSE,), tools, listed=not may_be_call(text, body))


def render(calls: tuple[ToolCall, ...]) -> str:
    return OPEN + "\n".join(render_python(one.name, json.loads(one.arguments)) for one in calls) + CLOSE
