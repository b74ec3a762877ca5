"""Step 3: DeepSeek-like markers around a tagged call.

<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="f">
<steptml:parameter name="k">v</steptml:parameter></steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>
"""

from __future__ import annotations

import re
from dataclasses import replace

from repair.markup import MarkupGrammar
from repair.regions import Region, match_literal, skip_space
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import ToolCall
from repair.values import plain_parameters

NAME = "step3"
SECTION, SECTION_END = "<\uff5ctool_calls_begin\uff5c>", "<\uff5ctool_calls_end\uff5c>"
OPEN = "<\uff5ctool_call_begin\uff5c>function<\uff5ctool_sep\uff5c>"
CLOSE = "<\uff5ctool_call_end\uff5c>"
INVOKE = "<steptml:invoke name="
INVOKE_END = "</steptml:invoke>"
PARAMETER = "<steptml:parameter name="
PARAMETER_END = "</steptml:parameter>"
OPENERS = (SECTION, OPEN, INVOKE)
CLOSERS = (CLOSE, SECTION_END, INVOKE_END, PARAMETER_END)
REASONING = (("<think>", "</think>"),)

FORM = Tagged(
    openers=(OPEN,),
    closers=(CLOSE,),
    call=INVOKE,
    head=re.compile(r"<steptml:invoke name=[\"']?(?P<name>[^<>\n\"']{1,256})[\"']?\s*>"),
    grammar=MarkupGrammar(
        open=re.compile(r"<steptml:parameter name=[\"']?(?P<key>[^<>\n\"']{1,256})[\"']?\s*>"),
        close=PARAMETER_END,
        ends=(INVOKE_END,),
        outer=(CLOSE, SECTION_END),
    ),
    parameter=PARAMETER,
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    if not text.startswith(SECTION, at):
        return read_tagged(text, at, FORM, tools)
    return parse_section(text, at, at + len(SECTION), tools)


def parse_first(text: str, at: int, tools: ToolSet) -> Region | None:
    """The first call after text[:at], with the section so far, if another one opens after it."""
    region = read_tagged(text, skip_space(text, at), FORM, tools)
    after = skip_space(text, region.end) if region else at
    if region is None or not text.startswith(OPEN, after):
        return None
    head = FORM.head.match(text, skip_space(text, after + len(OPEN)))
    return replace(region, start=at, end=after, body_start=at) if head else None


def parse_section(text: str, at: int, body: int, tools: ToolSet) -> Region | None:
    """The calls from `body` on and the end of their section."""
    position = skip_space(text, body)
    regions: list[Region] = []
    while text.startswith((OPEN, INVOKE), position):
        region = read_tagged(text, position, FORM, tools)
        if region is None:
            break
        regions.append(region)
        position = skip_space(text, region.end)
        if not region.closed:
            break
    if not regions:
        return None
    calls = tuple(call for region in regions for call in region.calls)
    last = regions[-1]
    closer = match_literal(text, position, (SECTION_END,))
    end = position + len(closer) if closer else last.end
    if closer is None and SECTION_END.startswith(text[position : position + len(SECTION_END)].rstrip()):
        end = len(text)
    closed = last.closed and closer is not None
    return replace(last, start=at, end=end, body_start=body, calls=calls, closed=closed)


def render(calls: tuple[ToolCall, ...]) -> str:
    return SECTION + "".join(f"{OPEN}{_render_invoke(one)}{CLOSE}" for one in calls) + SECTION_END


def _render_invoke(call: ToolCall) -> str:
    parts = [f'{INVOKE}"{call.name}">']
    for key, text in plain_parameters(call.arguments):
        wrapped = f"\n{text}\n" if text.startswith(("\n", "\r\n")) or text.endswith("\n") else text
        parts.append(f'{PARAMETER}"{key}">{wrapped}{PARAMETER_END}')
    return "\n".join([*parts, INVOKE_END])
