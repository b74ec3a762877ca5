"""Hunyuan A13B: an array in tags.

<tool_calls>[{"name": "f", "arguments": {...}}]</tool_calls>
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "hunyuan_a13b"
OPENERS = ("<tool_calls>",)
CLOSERS = ("</tool_calls>",)
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener), CLOSERS, OPENERS)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ", ".join(f'{{"name": "{one.name}", "arguments": {one.arguments}}}' for one in calls)
    return f"{OPENERS[0]}[{items}]{CLOSERS[0]}"
