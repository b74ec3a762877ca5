"""Hunyuan 3 (open source): one marker set per call.

<tool_call:opensource>f<tool_sep:opensource>{json}<end_of_tool_call:opensource>
"""

from __future__ import annotations

import re

from repair.named import Named, read_named, render_named
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "hunyuan"
CALL = "<tool_call:opensource>"
SEPARATOR = "<tool_sep:opensource>"
CALL_END = "<end_of_tool_call:opensource>"
STRAY = "<arg_value:opensource>"
OPENERS = (CALL,)
CLOSERS = (CALL_END,)
REASONING = (("<think>", "</think>"),)

FORM = Named(
    opener=CALL,
    head=re.compile(r"\s*(?P<name>[^<\n]{0,256}?)\s*" + re.escape(SEPARATOR)),
    closers=(CALL_END, STRAY + CALL_END),
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_named(text, at, FORM)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "".join(render_named(one.name, one.arguments, CALL, SEPARATOR, CALL_END) for one in calls)
