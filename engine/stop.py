"""Stop strings, matched on text however it was cut into tokens."""

from __future__ import annotations


class StopFinder:
    """Passes text through until a stop string completes, holding back only what may begin one.

    The stop string that completes first wins; of those completing together the one that began first.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held = ""

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
                return text[: min(starts)], True
        keep = self._possible_start(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """What was held back: no stop string will complete any more."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0
