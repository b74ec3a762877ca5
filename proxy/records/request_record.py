"""The record of one request: all that the guard did, as one frozen value for the ledger and the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.events import FinishReason, Usage
from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from repair.types import Fix, Problem
from repair.types import Verdict as TurnVerdict


class Ending(StrEnum):
    """How a request ended.

    finished: the client got a finish.
    failed: the client got an error.
    abandoned: the client went away first.
    """

    finished = "finished"
    failed = "failed"
    abandoned = "abandoned"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One time that the model was asked.

    verdict: None where the attempt was not judged: the guard is off, or `error` says why.
    usage: as far as it is known.
    constrained: decoding was asked to be constrained.
    unconstrained: it was to be constrained and was not, or not to its end.
    asked: the deployments of an upstream that were asked, in order; the last one answered.
    text: what an attempt had written that was broken off, or was refused; "" for any other.
    repeated: the attempt repeated itself word for word and was stopped.
    way: how the model was asked again, `correction`, `untouched` or `structured`; "" for the first attempt.
    tools: the declared tools that it called, rightly or wrongly, as far as their names can be read.
    """

    verdict: TurnVerdict | None
    fixes: tuple[Fix, ...] = ()
    problems: tuple[Problem, ...] = ()
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    constrained: bool = False
    error: str = ""
    unconstrained: bool = False
    asked: tuple[str, ...] = ()
    text: str = ""
    repeated: bool = False
    way: str = ""
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the arrival of the request at the guard; None where a point was never reached.

    admitted: the upstream took the request.
    first: the first text or call was sent.
    heard: the first attempt ended.
    judged: the first attempt was judged.
    total: the request ended.
    reasking: how much of that time was spent on asking again.
    """

    admitted: float = 0.0
    first: float | None = None
    heard: float | None = None
    judged: float | None = None
    reasking: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Everything that is kept of one request.

    turn: its number in the conversation, from 1.
    session_source: what named the session.
    reason: the finish reason; None where the request did not finish.
    calls: how many calls were delivered.
    fixes: repairs of what was delivered.
    problems: of what was not delivered.
    invalid: calls that were delivered against their schemas, which only happens where the guard may not act.
    handed_over: invalid calls that giving up delivered; they are not counted as invalid.
    given_up: how the guard gave up, where the verdict is `failed`.
    looping: the history held a loop already, and the model was told of it.
    drifted: the session was decoded under constraint because of drift.
    empty: tools were declared, and the model neither called one nor said anything.
    cache: the report of the first attempt's prompt, where the upstream tells.
    warnings: see Finish.
    kept_as: the key of the request's body in the ledger, "" where it keeps none.
    """

    request_id: str
    model: str
    session: str
    turn: int
    mode: GuardMode
    stream: bool
    format: str
    verdict: Verdict
    ending: Ending
    reason: FinishReason | None
    attempts: tuple[AttemptRecord, ...]
    calls: int
    fixes: tuple[Fix, ...]
    problems: tuple[Problem, ...]
    usage: Usage
    timings: Timings
    looping: bool = False
    drifted: bool = False
    error: str = ""
    session_source: str = ""
    cache: CacheReport | None = None
    empty: bool = False
    invalid: int = 0
    given_up: GiveUp | None = None
    handed_over: int = 0
    warnings: tuple[str, ...] = ()
    kept_as: str = ""


class Sink(Protocol):
    """Takes records. It is called on the event loop at the end of each request, and may neither block nor
    raise.
    """

    def record(self, account: RequestRecord) -> None: ...


BUCKETS = (1, 6, 11, 21, 41)  # of the turns of a conversation, by their first turn


def bucket(turn: int) -> int:
    """The first turn of the bucket that `turn` (from 1) falls into."""
    return max(first for first in BUCKETS if first <= max(turn, 1))
