"""Functions and parameters as tags. Qwen3-Coder, Qwen3.5 and later, Nemotron 3, Step 3.5.

    <tool_call>
    <function=f>
    <parameter=k>
    text, one newline around it
    </parameter>
    </function>
    </tool_call>

Also seen: no outer tag, and a JSON object instead of the parameters (so does Llama 3.x).
"""

from __future__ import annotations

import json
import re

from repair.markup import MarkupGrammar
from repair.regions import Region
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "qwen_xml"
OPEN = "<tool_call>"
CLOSE = "</tool_call>"
FUNCTION = "<function="
FUNCTION_END = "</function>"
PARAMETER = "<parameter="
PARAMETER_END = "</parameter>"
OPENERS = (OPEN, FUNCTION)
CLOSERS = (CLOSE, FUNCTION_END, PARAMETER_END)
REASONING = (("<think>", "</think>"),)

HEAD = re.compile(r"<function=\s*[\"']?(?P<name>[^<>\n\"']{1,256}?)[\"']?\s*>")
PARAMETER_HEAD = re.compile(r"<parameter=\s*[\"']?(?P<key>[^<>\n\"']{1,256}?)[\"']?\s*>")
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


def render_function(call: ToolCall) -> str:
    """One function block; strings are written as they are, other values as JSON."""
    parts = [f"{FUNCTION}{call.name}>"]
    for key, value in json.loads(call.arguments).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{PARAMETER}{key}>\n{text}\n{PARAMETER_END}")
    return "\n".join([*parts, FUNCTION_END])
