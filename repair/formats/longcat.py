"""LongCat: JSON in tags of its own.

<longcat_tool_call>
{"name": "f", "arguments": {...}}
</longcat_tool_call>
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "longcat"
OPENERS = ("<longcat_tool_call>",)
CLOSERS = ("</longcat_tool_call>",)
REASONING = (("<longcat_think>", "</longcat_think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener), CLOSERS, OPENERS)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(
        f'{OPENERS[0]}\n{{"name": "{one.name}", "arguments": {one.arguments}}}\n{CLOSERS[0]}' for one in calls
    )
