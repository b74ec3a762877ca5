"""The account of one request: all that the guard did, as one frozen value for whoever keeps or counts it."""

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
    """finished: the client got a finish. failed: an error. abandoned: the client went away first."""

    finished = "finished"
    failed = "failed"
    abandoned = "abandoned"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One time that the model was asked. verdict: None where no judgement was reached, error says why.

    usage: as far as it is known. constrained: decoding was asked to be constrained; unconstrained: and was
    not, or not to its end. asked: the deployments of an upstream that were asked for it, in order; the last
    one answered. text: what an attempt that was broken off had written until then; "" for one that ended.
    repeated: it repeated itself word for word and was stopped. way: how it was asked again, `correction`,
    `untouched` or `structured`; "" for the first.
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


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the request reached the guard, None where it never came to that. admitted: the upstream
    had taken it. first: the first text or call left. heard: the first attempt had ended. judged: and was
    judged. total: the end. reasking: how much of that was spent on asking again.
    """

    admitted: float = 0.0
    first: float | None = None
    heard: float | None = None
    judged: float | None = None
    reasking: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. turn: its number in the conversation, from 1. calls: how many were delivered. fixes: of
    what was delivered; problems: of what was not. looping: the history already held a loop that the
    model was told of. drifted: the session was escalated to constrained decoding. reason: None where it
    did not finish. session_source: what named the session. cache: of the first attempt's prompt, where the
    upstream tells. empty: tools were declared, and the model neither called nor said anything. invalid: calls
    that were delivered against their schemas, which only happens where the guard is told not to act.
    given_up: how, where the verdict is `failed`. handed_over: invalid calls that giving up delivered, which
    are not counted as invalid. warnings: see Finish.
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


class Sink(Protocol):
    """Takes accounts. Called on the event loop at the end of each request: may neither block nor raise."""

    def record(self, account: RequestRecord) -> None: ...


BUCKETS = (1, 6, 11, 21, 41)  # of the turns of a conversation, by their first


def bucket(turn: int) -> int:
    """The first turn of the bucket that `turn` (from 1) falls into."""
    return max(first for first in BUCKETS if first <= max(turn, 1))
