"""Finds where a call's envelope ends that holds nothing of a call."""

from __future__ import annotations

from repair.regions import Region, problem_call


class Finder:
    """str.find from growing positions in one text, each part of which is searched once per literal."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def find(self, text: str, literal: str, at: int) -> int:
        known = self._found.get(literal)
        if known is None or 0 <= known < at:
            known = self._found[literal] = text.find(literal, at)
        return known


def parse_garbage(text: str, at: int, marker: str, closers: tuple[str, ...], finder: Finder) -> Region | None:
    """An envelope that is closed before the next one opens, and holds nothing of a call."""
    body = at + len(marker)
    ends = [(pos, one) for one in closers if (pos := finder.find(text, one, body)) >= 0]
    if not ends:
        return None
    pos, closer = min(ends)
    if 0 <= finder.find(text, marker, body) < pos:
        return None
    inner = text[body:pos]
    call = problem_call(inner, "no_call", f"there is no call in the envelope: {inner.strip()[:60]!r}")
    return Region(at, pos + len(closer), body, (call,))
