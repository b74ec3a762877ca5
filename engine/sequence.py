"""One request on its way through the engine: the only place where its parts meet."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from llguidance import LLMatcher

from engine.cache.prefix import Prefix
from engine.detokenize import Detokenizer
from engine.repetition import TokenRepetition, repetition_of
from engine.runner import Live
from engine.scheduler import Queued
from engine.step import Job
from engine.types import (
    CacheReport,
    Finished,
    FinishReason,
    GenerateRequest,
    Priority,
    TextChunk,
    TokenLogprob,
)


class HeldBy(enum.Enum):
    """Why a request may not have a place yet."""

    disk = enum.auto()  # its prefix is on its way from there
    grammar = enum.auto()  # it is being compiled
    leader = enum.auto()  # another request computes what both begin with


@dataclass(slots=True, eq=False)
class Sequence:
    """What every part of the engine knows of one request; forgetting it is forgetting all of that.

    prefix: of the cache; queued: of the scheduler; live: of the runner, once it has had a place. holds: why
    it may not have one; grammar, leader: of those. submitted, started, first: when it came, got a place and
    got its first token; expires: when it must have ended. sampled: its tokens so far; shown: those whose text
    has left in a chunk; logprobs: of the others. repetition: of one that ends where its text repeats itself.
    """

    job: Job
    prefix: Prefix
    queued: Queued
    detokenizer: Detokenizer
    submitted: float = 0.0
    live: Live | None = None
    holds: set[HeldBy] = field(default_factory=set)
    grammar: Future[LLMatcher] | None = None
    leader: Sequence | None = None
    sampled: list[int] = field(default_factory=list)
    shown: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    started: float = 0.0
    first: float = 0.0
    expires: float = math.inf
    repetition: TokenRepetition | None = None

    @classmethod
    def begin(cls, prefix: Prefix, max_tokens: int, queued: Queued, detokenizer: Detokenizer) -> Sequence:
        """Of a checked request, for whose answer the context has `max_tokens` left."""
        asked = prefix.request
        apart = asked.priority is Priority.probe  # it may exceed the batch limit, which may be exact
        job = Job(asked.id, asked.prompt, max_tokens, asked.sampling, asked.thinking, apart=apart)
        return cls(job, prefix, queued, detokenizer, repetition=repetition_of(asked.sampling))

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def request(self) -> GenerateRequest:
        return self.prefix.request

    @property
    def due(self) -> float:
        """When it wants to be looked after though nothing has come for it."""
        return min(self.expires, self.prefix.waiting.until) if HeldBy.disk in self.holds else self.expires

    @property
    def tokens(self) -> int:
        """Of its answer, so far."""
        return len(self.sampled)

    def repeats(self, token: int) -> bool:
        """Whether its text is the same over and over, with this token; of a request that ends there."""
        return self.repetition is not None and self.repetition.push(token)

    def push(self, token: int, now: float, shown: bool, logprobs: Iterable[TokenLogprob]) -> str:
        """One more token; the text that is whole with it. shown: whether it has any."""
        self.sampled.append(token)
        self.first = self.first or now
        self.logprobs += logprobs
        return self.detokenizer.push(token) if shown else ""

    def chunk(self, text: str) -> TextChunk:
        """Text that leaves, with what is known of all tokens since the last."""
        count, self.shown = self.tokens - self.shown, self.tokens
        logprobs, self.logprobs = tuple(self.logprobs), []
        return TextChunk(self.id, text, count, logprobs)

    def finished(
        self, reason: FinishReason, now: float, report: CacheReport, unconstrained: bool = False
    ) -> Finished:
        """Its last event."""
        first = self.first or now
        return Finished(
            id=self.id,
            reason=reason,
            prompt_tokens=len(self.job.prompt),
            completion_tokens=self.tokens,
            queue_s=self.started - self.submitted,
            prefill_s=first - self.started,
            decode_s=now - first,
            unconstrained=unconstrained,
            cached_tokens=report.reused,
            cache=report,
            completion=tuple(self.sampled),
        )
