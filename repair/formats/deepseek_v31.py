"""DeepSeek V3.1: the markers of V3, the JSON right behind the name.

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{json}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re

from repair.formats.deepseek import CALL, CALL_END, SECTION, SECTION_END, SEPARATOR
from repair.named import Named, read_named, render_named
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "deepseek_v31"
OPENERS = (SECTION, CALL)
CLOSERS = (SECTION_END, CALL_END)
REASONING = (("<think>", "</think>"),)

FORM = Named(
    opener=CALL,
    head=re.compile(rf"\s*(?P<name>[^\n`<{{]{{0,256}}?)\s*{SEPARATOR}(?!\s*[\w.-]+\s*(?:\n|```))"),
    closers=(CALL_END,),
    sections=(SECTION,),
    section_ends=(SECTION_END,),
    begun=rf"{SEPARATOR}\s{{0,9}}\{{",
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_named(text, at, FORM)


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = [render_named(one.name, one.arguments, CALL, SEPARATOR, CALL_END) for one in calls]
    return SECTION + "".join(parts) + SECTION_END
