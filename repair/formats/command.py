"""Command-R7B and Command A (action markers), Command-R and R+ (`Action:` and a fence).

<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "f", "parameters": {...}}]<|END_ACTION|>

Action: ```json
[{"tool_name": "f", "parameters": {...}}]
```
"""

from __future__ import annotations

import re
from dataclasses import replace

from repair.regions import Region, match_literal, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "command"
OPEN, CLOSE = "<|START_ACTION|>", "<|END_ACTION|>"
ACTION = "Action:"
FENCE = "```"
OPENERS = (OPEN, ACTION)
CLOSERS = (CLOSE,)
DROPPED = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
REASONING = (("<|START_THINKING|>", "<|END_THINKING|>"),)

_FENCE = re.compile(r"[ \t]*(?:\r?\n)?```(?:json)?[ \t]*\r?\n\s*(?=[\[{])")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    opener = match_literal(text, at, OPENERS)
    if opener == OPEN:
        return parse_list(text, at, at + len(OPEN))
    fence = _FENCE.match(text, at + len(ACTION))
    if opener is None or fence is None:
        return None
    return read_json_calls(text, at, fence.end(), (FENCE,))


def parse_list(text: str, at: int, body: int, inside: bool = False) -> Region | None:
    """The array at `body` and its end. inside: `body` is the next object of an array opened before."""
    region = read_json_calls(text, at, body, (CLOSE,), (OPEN,), listed=inside)
    return replace(region, closed=True) if region and _ends_with_list(region) else region


def _ends_with_list(region: Region) -> bool:
    """Whether the array ends the calls by itself: its closing marker is a stop token that servers swallow."""
    return bool(region.calls) and all(call.closed and not call.problems for call in region.calls)


def render(calls: tuple[ToolCall, ...]) -> str:
    items = ",\n    ".join(
        f'{{"tool_call_id": "{index}", "tool_name": "{one.name}", "parameters": {one.arguments}}}'
        for index, one in enumerate(calls)
    )
    return f"{OPEN}[\n    {items}\n]{CLOSE}"
