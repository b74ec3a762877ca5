"""What a server does right now: requests that run, the last ones that ended, and totals since the start."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.conversation.verdict import GuardMode
from proxy.records.request_record import RequestRecord

# Of ended requests, the newest.
KEPT = 100


class Phase(StrEnum):
    """Where a running request is.

    waiting: it waits for its first text.
    writing: its answer is being written.
    asking_again: the model is asked again.
    """

    waiting = "waiting"
    writing = "writing"
    asking_again = "asking again"


@dataclass(slots=True)
class RunningRequest:
    """A request that has not ended. Its phase is kept up to date.

    number: its own, from 1.
    at: seconds since the epoch when it came.
    """

    number: int
    at: float
    request_id: str
    model: str
    session: str
    turn: int
    mode: GuardMode
    stream: bool
    phase: Phase = Phase.waiting


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """number: of its RunningRequest. order: how many had ended before it, and itself. at: seconds since the
    epoch.
    """

    number: int
    order: int
    at: float
    record: RequestRecord


@dataclass(slots=True)
class Totals:
    """Sums over all requests that ended since the start.

    requests: by their ending. verdicts: of those that finished.
    repeated: attempts that were stopped because they repeated themselves.
    """

    requests: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    calls: int = 0
    repeated: int = 0
    prompt: int = 0
    cached: int = 0
    generated: int = 0

    def add(self, record: RequestRecord) -> None:
        self.requests[record.ending.value] += 1
        if record.reason is not None:
            self.verdicts[record.verdict.value] += 1
        self.attempts += len(record.attempts)
        self.calls += record.calls
        self.repeated += sum(attempt.repeated for attempt in record.attempts)
        self.prompt += record.usage.prompt_tokens
        self.cached += record.usage.cached_tokens
        self.generated += record.usage.completion_tokens


class Activity:
    """Keeps what the page of a server shows. Everything that it is told costs a request some microseconds,
    whether anybody looks or not.
    """

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._running: dict[int, RunningRequest] = {}
        self._ended: deque[EndedRequest] = deque(maxlen=kept)
        self._order = 0
        self.totals = Totals()

    def begin(
        self, request_id: str, model: str, session: str, turn: int, mode: GuardMode, stream: bool
    ) -> RunningRequest:
        """A request has come. end() has to be called with what this returns."""
        one = RunningRequest(
            next(self._numbers), self._clock(), request_id, model, session, turn, mode, stream
        )
        self._running[one.number] = one
        return one

    def end(self, one: RunningRequest, record: RequestRecord) -> None:
        self._running.pop(one.number, None)
        self._order += 1
        self._ended.append(EndedRequest(one.number, self._order, self._clock(), record))
        self.totals.add(record)

    @property
    def running(self) -> tuple[RunningRequest, ...]:
        """The oldest first."""
        return tuple(self._running.values())

    @property
    def order(self) -> int:
        """How many requests have ended."""
        return self._order

    def ended(self, after: int = 0) -> list[EndedRequest]:
        """The requests that ended after so many others, as far as they are kept, oldest first."""
        return [one for one in self._ended if one.order > after]
