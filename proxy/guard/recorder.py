"""Notes what happens during one request, and ends with its RequestRecord."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.errors import RequestError
from proxy.conversation.events import Finish, Usage, sum_usage
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from proxy.guard.attempt import Attempt, AttemptReader
from proxy.guard.attempt_record import record_of, record_of_rest
from proxy.guard.caller import new_call_id
from proxy.guard.drift import SessionKey
from proxy.records.activity import Activity, Phase
from proxy.records.request_record import AttemptRecord, Ending, RequestRecord, Sink, Timings
from repair.types import Fix, Problem


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What is known of a request before the model is asked.

    until: when its time is up, on the event loop's clock.
    give_up: what the client gets for calls that cannot be saved.
    warnings: what of the request cannot be done as it was asked.
    call_id: makes the ids of calls.
    """

    request: ChatRequest
    mode: GuardMode
    key: SessionKey
    turn: int
    request_id: str = ""
    looping: bool = False
    drifted: bool = False
    until: float | None = None
    give_up: GiveUp = GiveUp.client
    warnings: tuple[str, ...] = ()
    call_id: Callable[[], str] = new_call_id


class Recorder:
    """Notes what happens to one request. close() may be called again: only the first call counts.

    activity: is told of the request while it runs.
    """

    def __init__(self, about: RequestContext, sinks: Sequence[Sink], activity: Activity) -> None:
        self._about = about
        self._sinks = sinks
        self._activity = activity
        self._running = activity.begin(
            about.request_id,
            about.key.model,
            about.key.session,
            about.turn,
            about.mode,
            about.request.stream,
        )
        self._start = time.monotonic()
        self._timings = Timings()
        self._attempts: list[AttemptRecord] = []
        self._format = ""
        self._calls = 0
        self._fixes: tuple[Fix, ...] = ()
        self._problems: tuple[Problem, ...] = ()
        self._cache: CacheReport | None = None
        self._empty = False
        self._invalid = 0
        self._handed_over = 0
        self._closed = False

    def _now(self) -> float:
        return time.monotonic() - self._start

    def admitted(self, format: str) -> None:
        self._format = format
        self._timings = replace(self._timings, admitted=self._now())

    def shown(self) -> None:
        """Something was sent to the client."""
        if self._timings.first is None:
            self._running.phase = Phase.writing
            self._timings = replace(self._timings, first=self._now())

    def heard(self) -> None:
        """The first attempt has ended."""
        self._timings = replace(self._timings, heard=self._now())

    def judged(self, attempt: Attempt) -> None:
        """Notes the first attempt."""
        now = self._now()
        self._cache = attempt.cache
        silent = not attempt.tried_to_call and not attempt.text.strip() and not attempt.refusal
        self._empty = silent and bool(self._about.request.tools)
        self._timings = replace(self._timings, judged=now)
        seconds = now - self._timings.admitted
        record = record_of(attempt, seconds, self._about.request.constrained)
        judged = self._about.mode is not GuardMode.off
        self._attempts.append(record if judged else replace(record, verdict=None))

    def asking_again(self) -> None:
        """The model is being asked again."""
        self._running.phase = Phase.asking_again

    def reasked(self, attempts: Sequence[AttemptRecord]) -> None:
        assert self._timings.judged is not None
        self._attempts += attempts
        self._timings = replace(self._timings, reasking=self._now() - self._timings.judged)

    def settled(
        self,
        calls: int,
        fixes: tuple[Fix, ...],
        problems: tuple[Problem, ...],
        invalid: int,
        handed_over: int,
    ) -> None:
        """Notes the calls that were delivered, and what was wrong.

        problems: of calls that were not delivered.
        invalid: delivered calls that do not fit their schemas, against the guard's will.
        handed_over: such calls that were delivered by giving up.
        """
        self._calls, self._fixes, self._problems = calls, fixes, problems
        self._invalid, self._handed_over = invalid, handed_over

    def failed(self, error: RequestError, reader: AttemptReader | None = None) -> None:
        """The upstream failed: ends the record. An attempt under way is noted with what the reader had read
        of it.
        """
        if error.asked or (reader is not None and reader.heard):
            self._broken_off(reader, error.message, error.asked)
        self.close(Ending.failed, error=error.message)

    def _broken_off(self, reader: AttemptReader | None, error: str, asked: tuple[str, ...] = ()) -> None:
        """Notes the first attempt, if it was under way."""
        if self._attempts or self._closed:
            return
        seconds = self._now() - self._timings.admitted
        constrained = self._about.request.constrained
        self._attempts.append(record_of_rest(reader, seconds, constrained, error, asked))

    @property
    def cache(self) -> CacheReport | None:
        """The cache report of the first attempt."""
        return self._cache

    @property
    def attempts(self) -> int:
        return len(self._attempts)

    @property
    def usage(self) -> Usage:
        """The usage of all attempts together."""
        spent = [attempt.usage for attempt in self._attempts]
        return sum_usage(spent, spent)

    def left(self, reader: AttemptReader | None = None) -> None:
        """Nobody waits for the answer any more: its time was up, or the client went away.

        reader: that of the first attempt, where it was admitted.
        """
        until = self._about.until
        late = until is not None and asyncio.get_running_loop().time() >= until
        if reader is not None:
            self._broken_off(reader, "stopped")
        if late:
            self.close(Ending.failed, error="it took longer than it may")
        else:
            self.close(Ending.abandoned)

    def close(self, ending: Ending, finish: Finish | None = None, error: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        about = self._about
        account = RequestRecord(
            request_id=about.request_id,
            model=about.key.model,
            session=about.key.session,
            turn=about.turn,
            mode=about.mode,
            stream=about.request.stream,
            format=self._format,
            verdict=finish.verdict if finish else Verdict.none,
            ending=ending,
            reason=finish.reason if finish else None,
            attempts=tuple(self._attempts),
            calls=self._calls,
            fixes=self._fixes,
            problems=self._problems,
            usage=self.usage,
            timings=replace(self._timings, total=self._now()),
            looping=about.looping,
            drifted=about.drifted,
            error=error,
            session_source=about.request.session.source,
            cache=self._cache,
            empty=self._empty,
            invalid=self._invalid,
            given_up=finish.given_up if finish else None,
            handed_over=self._handed_over,
            warnings=about.warnings,
            kept_as=about.request.kept_as,
        )
        for sink in self._sinks:
            sink.record(account)
        self._activity.end(self._running, account)
