"""MiniMax M2: invocations with named parameters, in an envelope of its own.

    <minimax:tool_call>
    <invoke name="f">
    <parameter name="k">v</parameter>
    </invoke>
    </minimax:tool_call>

Also seen: other envelopes around the same body, and none.
"""

from __future__ import annotations

import re

from repair.markup import MarkupGrammar
from repair.regions import Region
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import ToolCall
from repair.values import plain_parameters

NAME = "minimax"
OPEN = "<minimax:tool_call>"
CLOSE = "</minimax:tool_call>"
INVOKE = "<invoke name="
INVOKE_END = "</invoke>"
PARAMETER = "<parameter name="
PARAMETER_END = "</parameter>"
ALIASES = ("<tool_calls>", "<function_calls>")
ALIAS_ENDS = ("</tool_calls>", "</function_calls>")
OPENERS = (OPEN, *ALIASES, INVOKE)
CLOSERS = (CLOSE, *ALIAS_ENDS, INVOKE_END, PARAMETER_END)
REASONING = (("<think>", "</think>"),)

FORM = Tagged(
    openers=(OPEN, *ALIASES),
    closers=(CLOSE, *ALIAS_ENDS),
    call=INVOKE,
    head=re.compile(r"<invoke name=[\"']?(?P<name>[^<>\n\"']{1,256})[\"']?\s*>"),
    grammar=MarkupGrammar(
        open=re.compile(r"<parameter name=[\"']?(?P<key>[^<>\n\"']{1,256})[\"']?\s*>"),
        close=PARAMETER_END,
        ends=(INVOKE_END,),
        outer=(CLOSE, *ALIAS_ENDS),
    ),
    parameter=PARAMETER,
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_tagged(text, at, FORM, tools)


def render(calls: tuple[ToolCall, ...]) -> str:
    return f"{OPEN}\n" + "\n".join(render_invoke(one) for one in calls) + f"\n{CLOSE}"


def render_invoke(call: ToolCall) -> str:
    """One invocation; a value with a line break at an end gets the two that a reader removes."""
    parts = [f'{INVOKE}"{call.name}">']
    for key, text in plain_parameters(call.arguments):
        wrapped = f"\n{text}\n" if text.startswith(("\n", "\r\n")) or text.endswith("\n") else text
        parts.append(f'{PARAMETER}"{key}">{wrapped}{PARAMETER_END}')
    return "\n".join([*parts, INVOKE_END])
