"""Inkling: messages of one kind each, text, thoughts or a call. A call may have its name in the header too.

<|message_model|><|content_text|>words<|end_message|>
<|message_model|>f<|content_invoke_tool_json|>{"name": "f", "args": {...}}<|end_message|>
"""

from __future__ import annotations

import re

from repair.formats.row import Row
from repair.formats.shapes import RowFormat, with_one_name, with_own_keys
from repair.regions import Region, read_json_calls
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "inkling"
START, END = "<|message_model|>", "<|end_message|>"
CALL, THOUGHT, WORDS = "<|content_invoke_tool_json|>", "<|content_thinking|>", "<|content_text|>"
CALLS = RowFormat(
    Row(NAME, "objects", call=f"{START}{{name}}{CALL}", call_end=END, arguments_key="args"),
)
OPENERS = (START, CALL)
CLOSERS = (END,)
REASONING = ((f"{START}{THOUGHT}", END), (THOUGHT, END))
DROPPED = (f"{START}{WORDS}", WORDS, END, "<|content_model_end_sampling|>")

# something may be glued to the name, but none of the markers of messages
_NAME = r"(?P<name>(?:(?!<\|(?:message_model|content_\w+|end_message)\|>)[^\n]){0,256}?)"
_HEAD = re.compile(rf"(?:<\|message_model\|>\s*{_NAME}\s*)?<\|content_invoke_tool_json\|>\s*")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    head = _HEAD.match(text, at)
    region = read_json_calls(text, at, head.end(), CLOSERS) if head else None
    if head is None or region is None:
        return None
    name = head.group("name")
    return with_one_name(CALLS.row, name, region, text) if name else with_own_keys(CALLS.row, region)


def render(calls: tuple[ToolCall, ...]) -> str:
    return CALLS.render(calls)
