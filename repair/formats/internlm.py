"""InternLM2: one JSON object between action markers.

<|action_start|><|plugin|>{"name": "f", "parameters": {...}}<|action_end|>
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "internlm"
OPENERS = ("<|action_start|><|plugin|>", "<|action_start|> <|plugin|>")
CLOSERS = ("<|action_end|>",)
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    return read_json_calls(text, at, at + len(opener), CLOSERS, OPENERS)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(
        f'{OPENERS[0]}{{"name": "{one.name}", "parameters": {one.arguments}}}{CLOSERS[0]}' for one in calls
    )
