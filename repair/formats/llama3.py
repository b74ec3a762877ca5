"""Llama 3.x: JSON behind a marker, with `;` between calls. Without the marker it is bare JSON.

<|python_tag|>{"name": "f", "parameters": {...}}; {"name": "g", "parameters": {...}}
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "llama3"
OPENERS = ("<|python_tag|>",)
CLOSERS: tuple[str, ...] = ()
REASONING: tuple[tuple[str, str], ...] = ()


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener), CLOSERS)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = "; ".join(f'{{"name": "{one.name}", "parameters": {one.arguments}}}' for one in calls)
    return OPENERS[0] + items
