"""One request on its way through the engine: the only place where all that the parts know of it is kept."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from llguidance import LLMatcher

from engine.cache.prefix import Prefix
from engine.detokenize import Detokenizer
from engine.lane import Live
from engine.repetition import TokenRepetition, repetition_of
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

    disk = enum.auto()  # its prefix is being read from disk
    grammar = enum.auto()  # its grammar is being compiled
    leader = enum.auto()  # another request computes what both prompts begin with


@dataclass(slots=True, eq=False)
class Sequence:
    """What every part of the engine knows of one request; forgetting the sequence forgets all of that.

    prefix: the cache's.
    queued: the scheduler's.
    live: the runner's, once the request has had a place.
    holds: why it may not have a place yet.
    grammar, leader: what it waits for, for those reasons.
    submitted, started, first: when it came, got a place, and got its first token.
    expires: when it must have ended.
    sampled: its tokens so far.
    shown: how many of them have left as text in a chunk.
    logprobs: those of the other tokens.
    repetition: the watch for repetitions, where one ends the request.
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
        """The sequence of a checked request, for whose answer the context has `max_tokens` left."""
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
        """When it is to be looked after even if nothing has come for it."""
        return min(self.expires, self.prefix.waiting.until) if HeldBy.disk in self.holds else self.expires

    @property
    def tokens(self) -> int:
        """Tokens of its answer so far."""
        return len(self.sampled)

    def repeats(self, token: int) -> bool:
        """Whether its text repeats itself with this token, and so ends the request."""
        return self.repetition is not None and self.repetition.push(token)

    def push(self, token: int, now: float, shown: bool, logprobs: Iterable[TokenLogprob]) -> str:
        """Adds a token; returns the text that is whole with it. shown: whether the token has text."""
        self.sampled.append(token)
        self.first = self.first or now
        self.logprobs += logprobs
        return self.detokenizer.push(token) if shown else ""

    def chunk(self, text: str) -> TextChunk:
        """The text as a chunk, with what is known of all tokens since the last chunk."""
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
