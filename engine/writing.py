"""One request that is being answered, as the core keeps it in mind."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field

from llguidance import LLMatcher

from engine.detokenize import Detokenizer
from engine.repetition import TokenRepetition, repetition_of
from engine.runner import Job
from engine.types import CacheReport, Finished, FinishReason, GenerateRequest, Priority, TokenLogprob


@dataclass(slots=True)
class Writing:
    """The text of one request. sampled: its tokens so far; shown: those whose text has left in a chunk.

    logprobs: of the others. submitted, started, first: when it came, got a place and got its first token.
    expires: when it must have ended. grammar: while it is being compiled. repetition: of a request that ends
    where its text repeats itself.
    """

    job: Job
    detokenizer: Detokenizer
    sampled: list[int] = field(default_factory=list)
    shown: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    submitted: float = 0.0
    started: float = 0.0
    first: float = 0.0
    expires: float = math.inf
    grammar: Future[LLMatcher] | None = None
    prefill_only: bool = False
    repetition: TokenRepetition | None = None

    @classmethod
    def begin(
        cls, request: GenerateRequest, max_tokens: int, detokenizer: Detokenizer, now: float
    ) -> Writing:
        """Of a checked request, for whose answer the context has `max_tokens` left."""
        apart = request.priority is Priority.probe  # it may exceed the batch limit, which may be exact
        return cls(
            Job(request.id, request.prompt, max_tokens, request.sampling, request.thinking, apart=apart),
            detokenizer,
            submitted=now,
            prefill_only=request.prefill_only,
            repetition=repetition_of(request.sampling),
        )

    @property
    def tokens(self) -> int:
        return len(self.sampled)

    def finished(
        self, reason: FinishReason, now: float, report: CacheReport, unconstrained: bool = False
    ) -> Finished:
        """Its last event."""
        first = self.first or now
        return Finished(
            id=self.job.id,
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
