"""MiniCPM 5: functions with named params, no envelope. CDATA may hold what looks like markup.

<function name="f"><param name="k">v</param></function>
"""

from __future__ import annotations

import re
from dataclasses import replace

from repair.markup import MarkupGrammar
from repair.regions import Region, skip_space
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import Fix, FixKind, ToolCall
from repair.values import plain_parameters

NAME = "minicpm"
FUNCTION = "<function name="
FUNCTION_END = "</function>"
PARAM = "<param name="
PARAM_END = "</param>"
EMPTY = "<function/>"
CDATA, CDATA_END = "<![CDATA[", "]]>"
OPENERS = (FUNCTION, EMPTY)
CLOSERS = (FUNCTION_END, PARAM_END)
REASONING = (("<think>", "</think>"),)

FORM = Tagged(
    openers=(),
    closers=(),
    call=FUNCTION,
    head=re.compile(r"<function name=[\"']?(?P<name>[^<>\n\"']{1,256})[\"']?\s*>"),
    grammar=MarkupGrammar(
        open=re.compile(r"<param name=[\"']?(?P<key>[^<>\n\"']{1,256})[\"']?\s*>"),
        close=PARAM_END,
        ends=(FUNCTION_END,),
        cdata=(CDATA, CDATA_END),
    ),
    parameter=PARAM,
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    if not text.startswith(EMPTY, at):
        return read_tagged(text, at, FORM, tools)
    region = read_tagged(text, skip_space(text, at + len(EMPTY)), FORM, tools)
    if region is None:
        return None
    fix = Fix(FixKind.corrupted_marker, "", EMPTY, "")
    first = replace(region.calls[0], fixes=(fix, *region.calls[0].fixes))
    return replace(region, start=at, calls=(first, *region.calls[1:]))


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = []
    for call in calls:
        params = "".join(
            f'{PARAM}"{key}">{_protect(text)}{PARAM_END}' for key, text in plain_parameters(call.arguments)
        )
        parts.append(f'{FUNCTION}"{call.name}">{params}{FUNCTION_END}')
    return "\n".join(parts)


def _protect(text: str) -> str:
    plain = "<" not in text and text.strip("\r\n") == text
    return text if plain or CDATA_END in text else CDATA + text + CDATA_END
