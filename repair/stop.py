"""Matches the client's stop strings, in the content alone.

A stop string inside a call or inside the reasoning cuts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from repair.events import Calls, Event, Reasoning, Text
from repair.regions import is_blank, skip_space
from repair.types import ReasoningDelta, TextDelta


class StopFinder:
    """Passes text through until a stop string completes, and holds back only what may begin one.

    The stop string that completes first wins; of those that complete together, the one that began first.
    found: which one it was.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> tuple[str, bool]:
        """(text that may be shown, whether a stop string completed). After a stop nothing is held."""
        if not self._stops:
            return text, False
        text = self._held + text
        end = len(self._held)
        while end < len(text):
            end += 1
            starts = [end - len(stop) for stop in self._stops if text.endswith(stop, 0, end)]
            if starts:
                self._held = ""
                self.found = text[min(starts) : end]
                return text[: min(starts)], True
        keep = self._possible_start(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """What was held back, since no stop string will complete any more."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


class ContentStops:
    """The events of one turn, up to the stop string that completes in its content.

    White space that stands alone before a call, between calls or after the last one is not content: the
    client does not see it where nothing else is said, and every second model writes a line break there.
    Between the reasoning and the answer it is not content either, and is left out where it holds a stop
    string.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._finder = StopFinder(stops)
        self._blank = ""  # white space of which it is not known yet what follows it
        self._spoken = self._called = self._reasoned = False
        self.reached = False

    @property
    def found(self) -> str | None:
        """The stop string that completed."""
        return self._finder.found

    def take(self, events: list[Event]) -> list[Event]:
        """Those events that are certain: what may begin a stop string waits."""
        if not self._stops:
            return events
        passed: list[Event] = []
        for event in events:
            if self.reached:
                break
            if isinstance(event, Text):
                passed += self._text(event.text)
                continue
            passed += [*self._waiting(), event]
            self._reasoned = self._reasoned or isinstance(event, Reasoning)
            if isinstance(event, Calls):
                self._spoken, self._called = False, True
        return passed

    def close(self, events: list[Event]) -> list[Event]:
        """The last events, and what had waited."""
        passed = self.take(events)
        if self._blank and not self._called and not self.reached:
            self._spoken = True
            passed += self._text("")
        return passed if self.reached else [*passed, *self._waiting()]

    def _text(self, text: str) -> list[Event]:
        text, self._blank = self._blank + text, ""
        if not self._spoken and is_blank(text):
            self._blank = text
            return []
        if not self._spoken and self._reasoned and any(stop in text for stop in self._stops):
            text = text[skip_space(text, 0) :]
        self._spoken = True
        shown, self.reached = self._finder.push(text)
        return [Text(shown)] if shown else []

    def _waiting(self) -> list[Event]:
        held, self._blank = self._blank + self._finder.flush(), ""
        return [Text(held)] if held else []


def cut_content(
    deltas: Sequence[TextDelta | ReasoningDelta], stops: tuple[str, ...]
) -> tuple[tuple[TextDelta | ReasoningDelta, ...], str | None]:
    """The deltas without the text after a stop string, and which one that was. For text that turned out to be
    content at the end, such as a call that is quoted.
    """
    finder, kept, reached = StopFinder(stops), list[TextDelta | ReasoningDelta](), False
    for delta in deltas:
        if isinstance(delta, ReasoningDelta):
            kept += [TextDelta(held)] if (held := finder.flush()) else []
            kept.append(delta)
        elif not reached:
            shown, reached = finder.push(delta.text)
            kept += [TextDelta(shown)] if shown else []
    kept += [TextDelta(held)] if (held := finder.flush()) else []
    return (tuple(kept), finder.found) if stops else (tuple(deltas), None)
