"""Joins text that a request writes in quick succession into one chunk before it leaves the engine process.

Every chunk costs the processes behind this one a good part of a small model's step: a frame, an event, a
write to the client. vLLM and SGLang have the same setting, counted in tokens (`stream_interval`).
"""

from __future__ import annotations

from engine.types import Began, Failed, Finished, TextChunk

Event = Began | TextChunk | Finished | Failed


def join(first: TextChunk, second: TextChunk) -> TextChunk:
    """Two consecutive chunks of one request as one."""
    text, tokens = first.text + second.text, first.tokens + second.tokens
    return TextChunk(second.id, text, tokens, first.logprobs + second.logprobs)


class Outbox:
    """Holds text back for more text, `interval_s` at most. A request's first text, and everything else, never
    waits.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._text: dict[str, TextChunk] = {}
        self._starts: list[Event] = []
        self._others: list[Event] = []
        self._began: set[str] = set()
        self._since = 0.0
        self._urgent = False

    def put(self, events: list[Event], now: float) -> None:
        """Adds events in the order in which they came."""
        if events and not self._text:
            self._since = now
        for event in events:
            if isinstance(event, TextChunk):
                self._urgent |= event.id not in self._began
                self._began.add(event.id)
                held = self._text.get(event.id)
                self._text[event.id] = event if held is None else join(held, event)
            elif isinstance(event, Began):
                self._urgent = True
                self._starts.append(event)
            else:
                self._urgent = True
                self._began.discard(event.id)
                self._others.append(event)

    def forget(self, id: str) -> None:
        """Drops the text of a request that was aborted."""
        self._began.discard(id)
        self._text.pop(id, None)
        self._starts = [event for event in self._starts if event.id != id]

    def due(self, now: float) -> bool:
        """Whether anything is to be sent now."""
        return self._urgent or (bool(self._text) and now - self._since >= self._interval_s)

    def take(self) -> list[Event]:
        """Everything that is held, each request's text between the events that begin and end it."""
        events = [*self._starts, *self._text.values(), *self._others]
        self._text, self._starts, self._others, self._urgent = {}, [], [], False
        return events
