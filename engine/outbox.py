"""Text on its way out of the engine process: what a request wrote in quick succession leaves as one chunk.

Every chunk costs the processes behind this one a good part of a small model's step: a frame, an event, a
write to the client. vLLM and SGLang have the same lever, counted in tokens (`stream_interval`).
"""

from __future__ import annotations

from engine.types import Failed, Finished, TextChunk

Event = TextChunk | Finished | Failed


def join(first: TextChunk, second: TextChunk) -> TextChunk:
    """Two chunks of one request in a row as one."""
    text, tokens = first.text + second.text, first.tokens + second.tokens
    return TextChunk(second.id, text, tokens, first.logprobs + second.logprobs)


class Outbox:
    """Text waits here for more, `interval_s` at most; nothing else waits, nor does a request's first text."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._text: dict[str, TextChunk] = {}
        self._others: list[Event] = []
        self._began: set[str] = set()
        self._since = 0.0
        self._urgent = False

    def put(self, events: list[Event], now: float) -> None:
        """In the order in which they came."""
        if events and not self._text:
            self._since = now
        for event in events:
            if isinstance(event, TextChunk):
                self._urgent |= event.id not in self._began
                self._began.add(event.id)
                held = self._text.get(event.id)
                self._text[event.id] = event if held is None else join(held, event)
            else:
                self._urgent = True
                self._began.discard(event.id)
                self._others.append(event)

    def forget(self, id: str) -> None:
        """Of a request that was aborted nothing more leaves."""
        self._began.discard(id)
        self._text.pop(id, None)

    def due(self, now: float) -> bool:
        """Whether anything is to leave now."""
        return self._urgent or (bool(self._text) and now - self._since >= self._interval_s)

    def take(self) -> list[Event]:
        """All of it, each request's text before what ends it."""
        events = [*self._text.values(), *self._others]
        self._text, self._others, self._urgent = {}, [], False
        return events
