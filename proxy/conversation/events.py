"""The one stream of events, which every upstream gives and every codec encodes; an answer is its sum."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.logprobs import Logprobs, TextWithLogprobs, TokenLogprob
from proxy.conversation.verdict import GiveUp, Verdict
from repair.types import ReasoningDelta, TextDelta


class FinishReason(StrEnum):
    stop = "stop"
    length = "length"
    tool_calls = "tool_calls"
    content_filter = "content_filter"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. cached_tokens is a part of prompt_tokens, reasoning_tokens of completion_tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of every turn that was admitted, before the first text.

    It comes before the prompt is computed, where the upstream has counted its tokens by then.

    prompt_tokens, cached_tokens: of the first attempt; None where they are not known yet. Finish always has
        them.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A whole, accepted call. index: counts the calls of the turn from 0. arguments: JSON text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event of every turn that did not fail.

    usage: of all attempts together.
    fixes: how many changes the repair made.
    attempts: how often the model was asked.
    answer_valid: whether the text is what json_answer and answer_schema of the request ask for; None where
        they ask for nothing.
    cache: of the first attempt's prompt; None where the upstream does not tell.
    given_up: with the verdict `failed`, what the client gets in place of the calls.
    warnings: what of the request could not be done as it was asked.
    stop_sequence: the client's stop string that ended the answer; None where none did, or where an upstream
        does not tell.
    """

    reason: FinishReason
    usage: Usage
    verdict: Verdict = Verdict.none
    fixes: int = 0
    attempts: int = 1
    answer_valid: bool | None = None
    cache: CacheReport | None = None
    given_up: GiveUp | None = None
    warnings: tuple[str, ...] = ()
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class OfChoice:
    """An event of one of several answers. A Started or a Finish without it begins or ends all of them, since
    they have one prompt.
    """

    index: int
    event: TextDelta | TextWithLogprobs | ReasoningDelta | ToolCallReady | Finish


Event = Started | TextDelta | ReasoningDelta | ToolCallReady | Finish | Logprobs | TextWithLogprobs | OfChoice


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: the sum of the events of its stream."""

    content: str
    reasoning: str
    calls: tuple[ToolCallReady, ...]
    finish: Finish
    scores: tuple[TokenLogprob, ...] = ()


async def collect(events: AsyncIterator[Event]) -> Answer:
    """Adds up the stream of one answer, which must end in a Finish. An error that the stream raises is raised
    here.
    """
    finish: Finish | None = None
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCallReady] = []
    scores: list[TokenLogprob] = []
    async for event in events:
        match event:
            case TextDelta(text):
                content.append(text)
            case ReasoningDelta(text):
                reasoning.append(text)
            case TextWithLogprobs(text, tokens):
                content.append(text)
                scores.extend(tokens)
            case ToolCallReady():
                calls.append(event)
            case Finish():
                finish = event
    assert finish is not None, "an event stream ended without a Finish"
    return Answer("".join(content), "".join(reasoning), tuple(calls), finish, tuple(scores))


# The worst verdict of several answers is that of the request.
_WORST_FIRST = (Verdict.failed, Verdict.reasked, Verdict.repaired, Verdict.clean, Verdict.none)


def total(finishes: Sequence[Finish], prompts: int = 1) -> Finish:
    """One finish for several answers: each prompt counts once, the generated tokens are added up.

    prompts: how many prompts were answered. Each has the same number of answers, which stand together.
    """
    first = finishes[0]
    of_each = finishes[:: len(finishes) // prompts]
    usage = Usage(
        sum(finish.usage.prompt_tokens for finish in of_each),
        sum(finish.usage.completion_tokens for finish in finishes),
        sum(finish.usage.cached_tokens for finish in of_each),
        sum(finish.usage.reasoning_tokens for finish in finishes),
    )
    verdict = min((finish.verdict for finish in finishes), key=_WORST_FIRST.index)
    return Finish(
        first.reason,
        usage,
        verdict,
        sum(finish.fixes for finish in finishes),
        max(finish.attempts for finish in finishes),
        _all_valid([finish.answer_valid for finish in finishes]),
        first.cache,
        next((finish.given_up for finish in finishes if finish.given_up is not None), None),
        first.warnings,
        first.stop_sequence,
    )


def _all_valid(found: Sequence[bool | None]) -> bool | None:
    """One that is invalid counts for all, and one that was not checked leaves nothing to be said."""
    return False if False in found else None if None in found else True
