"""DeepSeek V3 and R1, with their full-width markers; the JSON stands in a fence.

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f
```json
{json}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re

from repair.named import Named, read_named
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "deepseek"
BAR, UNIT = "\uff5c", "\u2581"


def marker(words: str) -> str:
    """A DeepSeek special token: `tool call begin` between full-width bars."""
    return f"<{BAR}{words.replace(' ', UNIT)}{BAR}>"


SECTION = marker("tool calls begin")
SECTION_END = marker("tool calls end")
CALL = marker("tool call begin")
SEPARATOR = marker("tool sep")
CALL_END = marker("tool call end")
OPENERS = (SECTION, CALL)
CLOSERS = (SECTION_END, CALL_END)
REASONING = (("<think>", "</think>"),)

FORM = Named(
    opener=CALL,
    head=re.compile(rf"\s*function\s*{SEPARATOR}(?P<name>[^\n`<{{]{{0,256}})\s*(?=```|\{{|\n)"),
    closers=(CALL_END,),
    sections=(SECTION,),
    section_ends=(SECTION_END,),
    fenced=True,
    begun=rf"{SEPARATOR}[^\n`<{{]{{0,64}}(?:\s{{0,2}}`|\{{)",
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_named(text, at, FORM)


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = [f"{CALL}function{SEPARATOR}{one.name}\n```json\n{one.arguments}\n```{CALL_END}" for one in calls]
    return SECTION + "\n".join(parts) + SECTION_END
