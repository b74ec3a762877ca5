"""Hermes: JSON in tags. Hermes 2 Pro, Qwen2.5, Qwen3, SmolLM3, Granite 4 and many fine-tunes.

    <tool_call>
    {"name": "f", "arguments": {...}}
    </tool_call>

Also seen: several objects or an array in one tag, other names of the tag.
"""

from __future__ import annotations

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "hermes"
OPEN = "<tool_call>"
CLOSE = "</tool_call>"
ALIASES = {"<tool_use>": "</tool_use>", "<toolcall>": "</toolcall>", "<function_call>": "</function_call>"}
OPENERS = (OPEN, *ALIASES)
CLOSERS = (CLOSE, *ALIASES.values())
REASONING = (("<think>", "</think>"),)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener is None:
        return None
    closer = ALIASES.get(opener, CLOSE)
    return read_json_calls(text, at, at + len(opener), (closer,), (opener,))


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(
        f'{OPEN}\n{{"name": "{one.name}", "arguments": {one.arguments}}}\n{CLOSE}' for one in calls
    )
