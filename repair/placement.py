"""Where a call stands in the text, and whether it can be one there.

A model that reports what a page says may write down a whole call, and the page would then decide what is
executed. So a call stands at the beginning of a line, or right behind the end of a line's words where a
template writes no line break, and not inside a sentence, a quotation, a table, a list, HTML or indented code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from repair.events import Calls, Event, Junk, Place, Text
from repair.regions import is_blank
from repair.types import Problem

_HEAD = 40  # characters of a line that are kept: more than any indentation that is not code
_INDENT = 4  # columns: CommonMark's indented code
_OPENING = frozenset("\"'`([{<>|*_~=/\\,\u201c\u201e\u201a\u2018\u00ab\u2039\u300c\u300e\u300a\uff08")
_ENDING = frozenset(".!?\u2026\u3002\uff01\uff1f")
_CLOSING = "\"')\u201d\u2019\u00bb\u300d\u300f\uff09"
_PAIRS = (("\u201c", "\u201d"), ("\u00ab", "\u00bb"), ("\u300c", "\u300d"), ("\u300e", "\u300f"))
_GERMAN = "\u201e"
_MARK = re.compile(f'["{_GERMAN}{"".join(mark for pair in _PAIRS for mark in pair)}]')


class InText(StrEnum):
    """Which calls in the text count.

    placed: those in a place where a call can stand.
    alone: those of the model's own formats with nothing around them, since this upstream sends calls as
        structure.
    never: none.
    """

    placed = "placed"
    alone = "alone"
    never = "never"


class Line:
    """The line of content before what comes next, as far as it decides about a call there. last: its last
    character.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets everything: what comes next is at the beginning."""
        self.last = ""
        self._pieces: list[str] = []  # content that nobody has asked about yet
        self._fresh = True
        self._begin()

    def _begin(self) -> None:
        self._head = ""
        self._size = 0
        self._ended = False
        self._counts: dict[str, int] = {}

    def add(self, text: str) -> None:
        """Adds content, which is not empty."""
        self._pieces.append(text)
        self.last = text[-1]

    def _read(self) -> None:
        """Takes in what was added; most of a turn's text is never asked about."""
        if not self._pieces:
            return
        text, self._pieces = "".join(self._pieces), []
        self._fresh = self._fresh and is_blank(text)
        rest = text[text.rfind("\n") + 1 :]
        if len(rest) < len(text):
            self._begin()
        self._head = (self._head + rest)[:_HEAD]
        self._size += len(rest)
        words = text.rstrip(_CLOSING)
        self._ended = words[-1] in _ENDING if words else self._ended
        for mark in _MARK.findall(rest):
            self._counts[mark] = self._counts.get(mark, 0) + 1

    @property
    def fresh(self) -> bool:
        """Whether no words stand between the beginning, or the last call or marker, and this line."""
        self._read()
        return self._fresh

    def place(self) -> Place:
        """The place of what follows the line."""
        self._read()
        if self._fresh:
            return Place.line
        if self._size <= _HEAD and is_blank(self._head):
            return Place.within if len(self._head.expandtabs(_INDENT)) >= _INDENT else Place.line
        if self._head.lstrip()[:1] in (">", "|") or self._is_open() or self.last.isspace():
            return Place.within
        if self._ended:
            return Place.behind
        return Place.within if self.last in _OPENING else Place.glued

    @property
    def quotes(self) -> bool:
        """Whether it is a quotation or a table, or what follows stands in quotes or brackets."""
        self._read()
        return self._head.lstrip()[:1] in (">", "|") or self._is_open() or self.last in _OPENING

    def _is_open(self) -> bool:
        """Whether a quotation has begun on the line and not ended."""
        count = self._counts.get
        if count('"', 0) % 2:
            return True
        german = count(_GERMAN, 0)
        if german:
            return german > count("\u201c", 0) + count("\u201d", 0)
        return any(count(opening, 0) > count(closing, 0) for opening, closing in _PAIRS)


def settle_bare(events: list[Event]) -> list[Event]:
    """A bare call counts only if no text stands beside it."""
    bare = any(isinstance(event, Calls) and event.bare for event in events)
    if not bare or not any(isinstance(event, Text) and not is_blank(event.text) for event in events):
        return events
    return [Text(one.raw) if isinstance(one, Calls) and one.bare else one for one in events]


def settle_inline(events: Sequence[Event]) -> list[Event]:
    """The same events; a call between words of one line becomes text."""
    if not any(isinstance(one, Calls) and one.place is Place.glued for one in events):
        return list(events)
    settled: list[Event] = []
    inline = False
    for index, one in reversed(list(enumerate(events))):
        if isinstance(one, Calls):
            apart = one.bare or one.place is not Place.glued
            inline = not apart and (inline if one.more else _goes_on(one, events[index + 1 :]))
            settled.append(Text(one.raw) if inline else one)
        else:
            settled.append(one)
    return settled[::-1]


def _goes_on(call: Calls, following: Sequence[Event]) -> bool:
    """Whether words follow on the line in which the call ends."""
    behind = _space_at_end(call.raw)
    for one in following:
        if isinstance(one, Text):
            behind += one.text
        elif isinstance(one, Junk):
            behind += "\n" if "\n" in one.raw else ""
        else:
            break
        if not is_blank(behind):
            break
    return not is_blank(behind) and "\n" not in behind[: len(behind) - len(behind.lstrip())]


def _space_at_end(raw: str) -> str:
    return raw[len(raw.rstrip()) :]


def find_misplaced(
    events: Sequence[Event], spoken: bool, which: InText, place: Place = Place.line
) -> Problem | None:
    """Why not all of a turn's calls in the text are certain to be calls; None where they are, and for calls
    that are refused anyway.

    spoken: whether words were said before these events.
    place: of the first of them.

    In the model's own formats words may follow on lines of their own where none stand before; in any other
    format a call ends the turn.
    """
    if place is Place.within:
        return Problem("", "misplaced_call", _MESSAGES[which])
    words = [isinstance(one, Text) and not is_blank(one.text) for one in events]
    for index, call in enumerate(events):
        if not isinstance(call, Calls) or any(raw.problems for raw in call.region.calls):
            continue
        before, after = spoken or any(words[:index]), any(words[index + 1 :])
        if not _counts(call, before, after, events[index + 1 :], which):
            return Problem("", "misplaced_call", _MESSAGES[which])
    return None


def _counts(call: Calls, before: bool, after: bool, following: Sequence[Event], which: InText) -> bool:
    if which is InText.never:
        return False
    if which is InText.alone:
        return call.own and not before and not after
    if call.bare:
        return True
    if not call.own:
        return not after and call.place in (Place.line, Place.behind)
    return not after or not (before or _goes_on(call, following))


_ASIDE = (
    "a call stands beside words, and may be a quotation: it was not executed. If it was meant, make it again"
)
_MESSAGES = {
    InText.placed: f"{_ASIDE}, at the beginning of a line and as the end of your answer",
    InText.alone: f"{_ASIDE} as a proper tool call, not as text",
    InText.never: "a call stands in the text, where none is executed: make it as a proper tool call",
}
