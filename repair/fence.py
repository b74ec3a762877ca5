"""Reads a whole message that is one markdown fence around enveloped calls."""

from __future__ import annotations

import re
from dataclasses import replace

from repair.dialect import FENCE, Dialect
from repair.limits import LIMITS
from repair.regions import Format, Region, skip_space
from repair.tools import ToolSet
from repair.types import Fix, FixKind

_OPEN = re.compile(r"```[ \t]{0,9}[a-z_]{0,10}[ \t]{0,9}\r?\n\s{0,40}")


def parse_fenced(text: str, at: int, dialect: Dialect, tools: ToolSet) -> Region | None:
    """The region from the fence's opening to its closing; None if anything else stands in the text."""
    fence = _OPEN.match(text, at)
    if fence is None:
        return None
    marker = dialect.text.pattern.match(text, fence.end())
    for one in dialect.calls.get(marker.group(), ()) if marker else ():
        regions = _regions(text, fence.end(), one, dialect, tools)
        if not regions or not regions[0].calls:
            continue
        last = regions[-1]
        end = skip_space(text, last.end)
        if last.calls[-1].problems or not text.startswith(FENCE, end) or text[end + len(FENCE) :].strip():
            return None
        fix = Fix(FixKind.markdown_fence, "", fence.group(), "")
        first, *others = (call for region in regions for call in region.calls)
        first = replace(first, fixes=(fix, *first.fixes))
        return replace(last, start=at, end=end + len(FENCE), calls=(first, *others))
    return None


def _regions(text: str, at: int, form: Format, dialect: Dialect, tools: ToolSet) -> list[Region]:
    """The regions of one format, one after the other; the last may have problems."""
    found: list[Region] = []
    while len(found) <= LIMITS.calls:
        marker = dialect.text.pattern.match(text, at)
        if marker is None or form not in dialect.calls.get(marker.group(), ()):
            break
        region = form.parse(text, at, tools)
        if region is None:
            break
        found.append(region)
        if not region.calls or region.calls[-1].problems:
            break
        at = skip_space(text, region.end)
    return found
