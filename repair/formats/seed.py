"""Seed-OSS: the body of Qwen3-Coder in its own envelope and reasoning markers.

<seed:tool_call>
<function=f>
<parameter=k>v</parameter>
</function>
</seed:tool_call>
"""

from __future__ import annotations

from repair.formats.qwen_xml import (
    FUNCTION,
    FUNCTION_END,
    HEAD,
    PARAMETER,
    PARAMETER_END,
    PARAMETER_HEAD,
    render_function,
)
from repair.markup import MarkupGrammar
from repair.regions import Region
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "seed"
OPEN = "<seed:tool_call>"
CLOSE = "</seed:tool_call>"
OPENERS = (OPEN, FUNCTION)
CLOSERS = (CLOSE, FUNCTION_END, PARAMETER_END)
REASONING = (("<seed:think>", "</seed:think>"),)

FORM = Tagged(
    openers=(OPEN,),
    closers=(CLOSE,),
    call=FUNCTION,
    head=HEAD,
    grammar=MarkupGrammar(PARAMETER_HEAD, PARAMETER_END, (FUNCTION_END,), (CLOSE,)),
    parameter=PARAMETER,
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_tagged(text, at, FORM, tools)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(f"{OPEN}\n{render_function(one)}\n{CLOSE}" for one in calls)
