"""Muse Glimmer: messages with a recipient, as in harmony; a call is tags in a message to the tool.

<|start|>assistant to=f<|message|><atem:function_calls>
<atem:invoke name="f">
<atem:parameter name="k">v</atem:parameter>
</atem:invoke>
</atem:function_calls><|eot|>
"""

from __future__ import annotations

import re
from dataclasses import replace

from repair.formats.row import Row
from repair.formats.shapes import RowFormat
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "muse"
START = "<|start|>assistant"
MESSAGE = "<|message|>"
TAGS = RowFormat(
    Row(
        *("muse", "tags"),
        section="<atem:function_calls>\n",
        section_end="\n</atem:function_calls>",
        call='<atem:invoke name="{name}">\n',
        parameter='<atem:parameter name="{key}">',
        parameter_end="</atem:parameter>\n",
        call_end="</atem:invoke>",
        joint="\n",
    )
)
OPENERS = (f"{START} to=", *TAGS.OPENERS)
CLOSERS = TAGS.CLOSERS
ENDS = TAGS.ENDS
REASONING = ((f"{START} to=self{MESSAGE}", "<|eom|>"),)
DROPPED = (f"{START} to=user{MESSAGE}", "<|eot|>", "<|eom|>")

_HEAD = re.compile(r"<\|start\|>assistant to=[\w./-]{1,256}\s*<\|message\|>\s*(?=<atem:)")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    head = _HEAD.match(text, at)
    if head is None:
        return TAGS.parse(text, at, tools) if text.startswith(TAGS.OPENERS, at) else None
    region = TAGS.parse(text, head.end(), tools)
    return replace(region, start=at) if region else None


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = [f"{START} to={one.name}{MESSAGE}{TAGS.render((one,))}" for one in calls]
    return "<|eom|>".join(parts)
