"""Finds what changes from turn to turn in a system message and means nothing: header lines, ids, clock times.

Each kind is told by its form: a header line at the head (one agent puts `x-anthropic-billing-header:
    cc_version=...;` there, whose suffix changes with the first prompt and in subagents), an id in a line that
    says that it is one, and the time of day in a line that says that it is the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_HEADER_LINES = re.compile(r"\A(?:\s*x-[a-z0-9]+(?:-[a-z0-9]+)+:[^\n]*(?:\n|\Z))+", re.IGNORECASE)
_LABEL = r"^[^\n:=]{0,40}?"
_ID_LINE = re.compile(
    _LABEL
    + r"\b(?:nonce|cache[ _-]?bust(?:er)?|(?:request|trace|span|correlation|session|run|turn|message)[ _-]?id"
    r"|(?:prompt|cache|context|billing)[ _-]?hash|hash|billing|fingerprint)\b[^\n:=]{0,20}[:=][^\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_ID = re.compile(r"\b(?=[0-9a-z_-]*\d)[0-9a-z][0-9a-z_-]{5,}\b", re.IGNORECASE)
_CLOCK_LINE = re.compile(
    _LABEL + r"\b(?:date|time|datetime|now|today|clock|timestamp)\b[^\n]*$", re.IGNORECASE | re.MULTILINE
)
_CLOCK = re.compile(
    r"(?<![\d:.])(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:[.,]\d{1,9})?)?"
    r"(?:\s?(?P<half>[ap])\.?m\b\.?)?(?![\d:])",
    re.IGNORECASE,
)
_HALF_DAY_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A text without its volatile parts. clocks: the times of day that it held, in seconds."""

    text: str
    clocks: tuple[int, ...] = ()


def without_header_lines(text: str) -> str:
    return _HEADER_LINES.sub("", text, count=1)


def without_ids(text: str) -> str:
    """The text with `#` for the ids of lines that say that they hold one."""
    return _ID_LINE.sub(lambda line: _after_label(line[0], lambda rest: _ID.sub("#", rest)), text)


def without_clocks(text: str) -> Skeleton:
    """The text with `#` for the times of day of lines that say that they hold one; dates stay."""
    clocks: list[int] = []

    def note(found: re.Match[str]) -> str:
        clocks.append(_seconds(found))
        return "#"

    return Skeleton(_CLOCK_LINE.sub(lambda line: _CLOCK.sub(note, line[0]), text), tuple(clocks))


def without_volatile(text: str) -> str:
    """The text without all three kinds: equal for the system messages of one session."""
    return without_clocks(without_ids(without_header_lines(text))).text


def _after_label(line: str, change: Callable[[str], str]) -> str:
    at = min(at for at in (line.find(":"), line.find("=")) if at >= 0) + 1
    return line[:at] + change(line[at:])


def _seconds(found: re.Match[str]) -> int:
    seconds = int(found["h"]) * 3600 + int(found["m"]) * 60 + int(found["s"] or 0)
    if found["half"] is None:
        return seconds
    return seconds % _HALF_DAY_S + (_HALF_DAY_S if found["half"].lower() == "p" else 0)
