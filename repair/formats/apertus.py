"""Apertus: an array whose objects have the tool's name as their only key.

<|tools_prefix|>[{"f": {...}}]<|tools_suffix|>
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import Body, ToolCall

NAME = "apertus"
OPENERS = ("<|tools_prefix|>",)
CLOSERS = ("<|tools_suffix|>",)
REASONING = (("<|inner_prefix|>", "<|inner_suffix|>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener), CLOSERS, OPENERS, Body.keyed)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ", ".join(f'{{"{one.name}": {one.arguments}}}' for one in calls)
    return f"{OPENERS[0]}[{items}]{CLOSERS[0]}"
