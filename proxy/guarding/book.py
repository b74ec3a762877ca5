"""The book of one request: notes what happens while it happens, and closes with its Account."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.account import Account, AttemptAccount, Ending, Sink, Timings
from proxy.chat import CacheReport, ChatRequest, Finish, GuardMode, Usage, Verdict
from proxy.drift import SessionKey
from proxy.guarding.attempt import Attempt
from repair.types import Fix, Problem


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a request before it is asked."""

    request: ChatRequest
    mode: GuardMode
    key: SessionKey
    turn: int
    request_id: str = ""
    looping: bool = False
    drifted: bool = False


class Book:
    """close() may be called more than once: the first time counts."""

    def __init__(self, about: Circumstances, sinks: Sequence[Sink]) -> None:
        self._about = about
        self._sinks = sinks
        self._start = time.monotonic()
        self._timings = Timings()
        self._attempts: list[AttemptAccount] = []
        self._format = ""
        self._calls = 0
        self._fixes: tuple[Fix, ...] = ()
        self._problems: tuple[Problem, ...] = ()
        self._cache: CacheReport | None = None
        self._closed = False

    def _now(self) -> float:
        return time.monotonic() - self._start

    def admitted(self, format: str) -> None:
        self._format = format
        self._timings = replace(self._timings, admitted=self._now())

    def shown(self) -> None:
        """Something left for the client."""
        if self._timings.first is None:
            self._timings = replace(self._timings, first=self._now())

    def judged(self, attempt: Attempt) -> None:
        now = self._now()
        self._cache = attempt.cache
        self._timings = replace(self._timings, judged=now)
        seconds = now - self._timings.admitted
        self._attempts.append(
            AttemptAccount(
                attempt.verdict,
                attempt.fixes,
                attempt.problems,
                attempt.usage,
                seconds,
                self._about.request.constrained,
            )
        )

    def reasked(self, attempts: Sequence[AttemptAccount]) -> None:
        assert self._timings.judged is not None
        self._attempts += attempts
        self._timings = replace(self._timings, reasking=self._now() - self._timings.judged)

    def settled(self, calls: int, fixes: tuple[Fix, ...], problems: tuple[Problem, ...]) -> None:
        """What was delivered, and what was wrong with that which was not."""
        self._calls, self._fixes, self._problems = calls, fixes, problems

    @property
    def cache(self) -> CacheReport | None:
        """Of the first attempt."""
        return self._cache

    @property
    def attempts(self) -> int:
        return len(self._attempts)

    @property
    def usage(self) -> Usage:
        """Of all attempts together."""
        spent = [attempt.usage for attempt in self._attempts]
        return Usage(
            sum(usage.prompt_tokens for usage in spent),
            sum(usage.completion_tokens for usage in spent),
            sum(usage.cached_tokens for usage in spent),
            sum(usage.reasoning_tokens for usage in spent),
        )

    def close(self, ending: Ending, finish: Finish | None = None, error: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        about = self._about
        account = Account(
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
        )
        for sink in self._sinks:
            sink.record(account)
