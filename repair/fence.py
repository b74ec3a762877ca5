"""A whole message that is one markdown fence around one enveloped call."""

from __future__ import annotations

import re
from dataclasses import replace

from repair.dialect import FENCE, Dialect
from repair.regions import Region, skip_space
from repair.tools import ToolSet
from repair.types import Fix, FixKind

_OPEN = re.compile(r"```[ \t]{0,9}[a-z_]{0,10}[ \t]{0,9}\r?\n\s{0,40}")


def parse_fenced(text: str, at: int, dialect: Dialect, tools: ToolSet) -> Region | None:
    """The region from the fence's opening to its closing; None unless nothing else stands in the text."""
    fence = _OPEN.match(text, at)
    if fence is None:
        return None
    marker = dialect.text.pattern.match(text, fence.end())
    for one in dialect.calls.get(marker.group(), ()) if marker else ():
        region = one.parse(text, fence.end(), tools)
        if region is None or not region.calls:
            continue
        end = skip_space(text, region.end)
        if region.calls[-1].problems or not text.startswith(FENCE, end) or text[end + len(FENCE) :].strip():
            return None
        fix = Fix(FixKind.markdown_fence, "", fence.group(), "")
        first = replace(region.calls[0], fixes=(fix, *region.calls[0].fixes))
        return replace(region, start=at, end=end + len(FENCE), calls=(first, *region.calls[1:]))
    return None
