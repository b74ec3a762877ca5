"""What goes into the runner and what comes out of its steps: jobs, sampled tokens, computed caches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher

from engine.types import FinishReason, SamplingParams, ThinkingLimit


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request, as the runner gets it.

    max_tokens: fits into the context.
    matcher: at the beginning of its grammar.
    marks: numbers of prompt tokens at which a chunk of its prefill has to end.
    apart: it shares no batch.
    """

    id: str
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParams
    thinking: ThinkingLimit | None = None
    matcher: LLMatcher | None = None
    marks: tuple[int, ...] = ()
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Computed:
    """The caches of a sequence, which may be lazy, and the tokens that are in them."""

    tokens: list[int]
    caches: list[Any]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One token of one request.

    finish: set with the last token; an end token comes with `stop`.
    logprobs: (token, log probability) of this token and then of the likeliest, where they were asked for.
    unconstrained: set with the last token: whether its grammar failed on the way.
    computed: set with the last token: all of its sequence.
    told: it is the first token, which a step before gave out (see StepResult).
    """

    id: str
    token: int
    finish: FinishReason | None
    logprobs: tuple[tuple[int, float], ...] = ()
    unconstrained: bool = False
    computed: Computed | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did.

    sampled: the tokens that it decoded, those of which the next forward pass has begun.
    first: the first tokens of prompts that it finished, before they are run. A later step has them in its
        `sampled` again, with the end of a request that they end.
    remaining: id -> prompt tokens still to prefill, of the prompts that the step worked on; 0: it decodes.
    prefilled: token positions computed for prompts, padding included.
    seconds: how long the step took, without putting together what newcomers have in the cache.
    """

    sampled: tuple[Sampled, ...]
    first: tuple[Sampled, ...]
    remaining: dict[str, int]
    prefilled: int
    seconds: float
