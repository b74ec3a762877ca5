"""A turn that is handed on as it stands, since nothing in its text is a call or reasoning.

The model went on from a prompt without a chat template.
"""

from __future__ import annotations

from repair.stop import StopFinder
from repair.turn import Outcome
from repair.types import ReasoningDelta, TextDelta, Verdict


class VerbatimTurn:
    """As Turn, which it stands in for: text in any pieces, up to the stop string that completes in it."""

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._finder = StopFinder(stops)
        self.stopped = False

    @property
    def stop_sequence(self) -> str | None:
        """The stop string that has completed."""
        return self._finder.found

    def feed(self, text: str) -> list[TextDelta | ReasoningDelta]:
        """What may be shown now; what may begin a stop string waits."""
        if self.stopped:
            return []
        shown, self.stopped = self._finder.push(text)
        return [TextDelta(shown)] if shown else []

    def close(self, finish_reason: str | None) -> Outcome:
        """The end of the turn, whatever the upstream's reason for it."""
        rest = self._finder.flush()
        return Outcome((TextDelta(rest),) if rest else (), (), Verdict.none)
