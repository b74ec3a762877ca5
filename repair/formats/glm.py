"""GLM 4.5 to 5: the name, then keys and values in tags of their own (from 4.7 on without line breaks).

<tool_call>f
<arg_key>k</arg_key>
<arg_value>v</arg_value>
</tool_call>
"""

from __future__ import annotations

from repair.formats.pairs import Pairs, read_pairs
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall
from repair.values import plain_parameters

NAME = "glm"
OPEN = "<tool_call>"
CLOSE = "</tool_call>"
KEY, KEY_END = "<arg_key>", "</arg_key>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"
OPENERS = (OPEN,)
CLOSERS = (CLOSE, VALUE_END)
REASONING = (("<think>", "</think>"),)

FORM = Pairs(OPEN, CLOSE, KEY, KEY_END, VALUE, VALUE_END)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_pairs(text, at, FORM, tools)


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = []
    for call in calls:
        pairs = "".join(
            f"\n{KEY}{key}{KEY_END}\n{VALUE}{text}{VALUE_END}"
            for key, text in plain_parameters(call.arguments)
        )
        parts.append(f"{OPEN}{call.name}{pairs}\n{CLOSE}")
    return "\n".join(parts)
