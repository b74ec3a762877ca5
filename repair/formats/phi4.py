"""Phi-4-mini: an array behind a word.

functools[{"name": "f", "arguments": {...}}]
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "phi4"
OPENERS = ("functools[",)
CLOSERS: tuple[str, ...] = ()
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener) - 1, CLOSERS)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ", ".join(f'{{"name": "{one.name}", "arguments": {one.arguments}}}' for one in calls)
    return f"{OPENERS[0]}{items}]"
