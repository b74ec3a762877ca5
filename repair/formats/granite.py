"""Granite 3.x: an array behind a marker; nothing ends it.

    <|tool_call|>[{"name": "f", "arguments": {...}}]

Granite 20b writes `<function_call>{...}` and is read as Hermes.
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "granite"
OPENERS = ("<|tool_call|>",)
CLOSERS: tuple[str, ...] = ()
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener), CLOSERS)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ", ".join(f'{{"name": "{one.name}", "arguments": {one.arguments}}}' for one in calls)
    return f"{OPENERS[0]}[{items}]"
