"""Kimi K2: a section of calls, each with its index behind the name.

<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{json}
<|tool_call_end|><|tool_calls_section_end|>
"""

from __future__ import annotations

import re

from repair.named import Named, read_named, render_named
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "kimi"
SECTION = "<|tool_calls_section_begin|>"
SECTION_END = "<|tool_calls_section_end|>"
SINGULAR, SINGULAR_END = "<|tool_call_section_begin|>", "<|tool_call_section_end|>"
CALL = "<|tool_call_begin|>"
ARGUMENTS = "<|tool_call_argument_begin|>"
CALL_END = "<|tool_call_end|>"
OPENERS = (SECTION, SINGULAR, CALL)
CLOSERS = (SECTION_END, SINGULAR_END, CALL_END)
REASONING = (("<think>", "</think>"), ("\u25c1think\u25b7", "\u25c1/think\u25b7"))

FORM = Named(
    opener=CALL,
    head=re.compile(
        r"\s*(?:functions\.)?(?P<name>[^<\n:]{0,256})(?::\d+)?\s*" + re.escape(ARGUMENTS), re.ASCII
    ),
    closers=(CALL_END,),
    sections=(SECTION, SINGULAR),
    section_ends=(SECTION_END, SINGULAR_END),
    spellings=2,
    begun=re.escape(ARGUMENTS) + r"\s{0,9}\{",
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_named(text, at, FORM)


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = [
        render_named(f"functions.{one.name}:{index}", one.arguments, CALL, ARGUMENTS, CALL_END)
        for index, one in enumerate(calls)
    ]
    return SECTION + "".join(parts) + SECTION_END
