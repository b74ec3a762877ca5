"""Reads what stands behind a call's marker that is written twice, or that no call follows."""

from __future__ import annotations

from dataclasses import replace

from repair.garbage import Finder, parse_garbage
from repair.regions import Format, Region, skip_space
from repair.tools import ToolSet
from repair.types import Fix, FixKind

_AGAIN = 4  # opening markers in a row that count as one


def read_broken(
    text: str, at: int, marker: str, formats: tuple[Format, ...], tools: ToolSet, finder: Finder
) -> tuple[Region, Format] | None:
    """The region at `at`, in a complete text, and the format that reads it."""
    doubled = _read_doubled(text, at, marker, formats, tools)
    if doubled is not None:
        return doubled
    closers = tuple(closer for one in formats for closer in one.CLOSERS)
    garbage = parse_garbage(text, at, marker, closers, finder)
    return (garbage, formats[0]) if garbage is not None else None


def _read_doubled(
    text: str, at: int, marker: str, formats: tuple[Format, ...], tools: ToolSet
) -> tuple[Region, Format] | None:
    """A call whose opening marker is written more than once, with nothing between."""
    start = skip_space(text, at + len(marker))
    for _ in range(_AGAIN):
        if not text.startswith(marker, start):
            return None
        for one in formats:
            region = one.parse(text, start, tools)
            if region is not None and region.calls:
                fix = Fix(FixKind.corrupted_marker, "", text[at : start + len(marker)], marker)
                first = replace(region.calls[0], fixes=(fix, *region.calls[0].fixes))
                return replace(region, start=at, calls=(first, *region.calls[1:])), one
        start = skip_space(text, start + len(marker))
    return None
