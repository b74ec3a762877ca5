"""The one stream of events, which every upstream gives and every codec encodes; an answer is its sum."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
    """Token counts. cached_tokens is a part of prompt_tokens, reasoning_tokens of completion_tokens.

    cost: what an upstream charges, in its own unit; None where it does not tell.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None


def sum_usage(prompts: Sequence[Usage], answers: Sequence[Usage]) -> Usage:
    """One usage for several generations. prompts: of those whose prompt counts. answers: of all of them."""
    costs = [one.cost for one in answers if one.cost is not None]
    return Usage(
        sum(one.prompt_tokens for one in prompts),
        sum(one.completion_tokens for one in answers),
        sum(one.cached_tokens for one in prompts),
        sum(one.reasoning_tokens for one in answers),
        sum(costs) if costs else None,
    )


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
    """A whole, accepted call.

    index: counts the calls of the turn from 0.
    arguments: JSON text.
    extra: what an upstream sent beside the call and wants to see again.
    """

    index: int
    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """Newly generated text in which an upstream's model says that it will not answer."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerExtra:
    """What an upstream sends beside the text of its answer, such as `annotations`. fields: as it sent them;
    a later part of one goes on where the earlier one ended.
    """

    fields: Mapping[str, Any]


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
    session: the id of the session that the request was counted to.
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
    session: str = ""


@dataclass(frozen=True, slots=True)
class OfChoice:
    """An event of one of several answers. A Started or a Finish without it begins or ends all of them, since
    they have one prompt.
    """

    index: int
    event: AnswerPart | Finish


AnswerPart = TextDelta | TextWithLogprobs | ReasoningDelta | RefusalDelta | ToolCallReady | AnswerExtra
Event = Started | AnswerPart | Finish | Logprobs | OfChoice


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: the sum of the events of its stream."""

    content: str
    reasoning: str
    calls: tuple[ToolCallReady, ...]
    finish: Finish
    scores: tuple[TokenLogprob, ...] = ()
    refusal: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


async def collect(events: AsyncIterator[Event]) -> Answer:
    """Adds up the stream of one answer, which must end in a Finish. An error that the stream raises is raised
    here.
    """
    finish: Finish | None = None
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCallReady] = []
    scores: list[TokenLogprob] = []
    refusal: list[str] = []
    extra: dict[str, Any] = {}
    async for event in events:
        match event:
            case TextDelta(text):
                content.append(text)
            case ReasoningDelta(text):
                reasoning.append(text)
            case TextWithLogprobs(text, tokens):
                content.append(text)
                scores.extend(tokens)
            case RefusalDelta(text):
                refusal.append(text)
            case AnswerExtra(fields):
                for name, value in fields.items():
                    extra[name] = continued(extra.get(name), value)
            case ToolCallReady():
                calls.append(event)
            case Finish():
                finish = event
    assert finish is not None, "an event stream ended without a Finish"
    return Answer(
        "".join(content),
        "".join(reasoning),
        tuple(calls),
        finish,
        tuple(scores),
        "".join(refusal),
        extra,
    )


# What of an object comes in pieces; all else of it comes whole.
_IN_PIECES = frozenset({"text", "summary", "data", "transcript", "thinking"})


def continued(before: Any, after: Any) -> Any:
    """What two parts of one value make up: lists are joined, and their items of one `index` are one item."""
    match before, after:
        case None, _:
            return continued([], after) if isinstance(after, list) else after
        case list(), list():
            joined = list(before)
            for item in after:
                place = _place_of(item, joined)
                if place is None:
                    joined.append(item)
                else:
                    joined[place] = continued(joined[place], item)
            return joined
        case dict(), dict():
            told = {name: value for name, value in after.items() if value is not None}
            for name in _IN_PIECES & told.keys() & before.keys():
                if isinstance(before[name], str) and isinstance(told[name], str):
                    told[name] = before[name] + told[name]
            return {**before, **told}
        case _:
            return after


def _place_of(item: Any, items: Sequence[Any]) -> int | None:
    """Where the earlier part of this item stands."""
    index = item.get("index") if isinstance(item, dict) else None
    if index is None:
        return None
    known = (at for at, one in enumerate(items) if isinstance(one, dict) and one.get("index") == index)
    return next(known, None)


# The worst verdict of several answers is that of the request.
_WORST_FIRST = (
    Verdict.failed,
    Verdict.reasked,
    Verdict.repaired,
    Verdict.unjudged,
    Verdict.clean,
    Verdict.none,
)


def total(finishes: Sequence[Finish], prompts: int = 1) -> Finish:
    """One finish for several answers: each prompt counts once, the generated tokens are added up.

    prompts: how many prompts were answered. Each has the same number of answers, which stand together.
    """
    first = finishes[0]
    of_each = finishes[:: len(finishes) // prompts]
    usage = sum_usage([finish.usage for finish in of_each], [finish.usage for finish in finishes])
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
        tuple(dict.fromkeys(warning for finish in finishes for warning in finish.warnings)),
        first.stop_sequence,
        first.session,
    )


def _all_valid(found: Sequence[bool | None]) -> bool | None:
    """One that is invalid counts for all, and one that was not checked leaves nothing to be said."""
    return False if False in found else None if None in found else True
