"""The one internal conversation type and the one internal event stream.

Every codec decodes into ChatRequest and encodes Events; every upstream is asked with a ChatRequest. What
a client left out is None here: the upstream knows its model's defaults, the codec does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from repair.types import ReasoningDelta, TextDelta, ToolDefinition


class Role(StrEnum):
    system = "system"
    user = "user"
    assistant = "assistant"
    tool = "tool"


@dataclass(frozen=True, slots=True)
class PastCall:
    """A tool call of the history, as the client sent it: `arguments` is any text, valid JSON or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message. calls: assistant only. call_id and name: tool results only (name may be empty)."""

    role: Role
    text: str
    reasoning: str = ""
    calls: tuple[PastCall, ...] = ()
    call_id: str = ""
    name: str = ""


class ToolMode(StrEnum):
    auto = "auto"
    none = "none"
    required = "required"
    named = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What the client asks of this turn. name: the one tool to call, with `named` only."""

    mode: ToolMode = ToolMode.auto
    name: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding parameters as the client gave them. None: not given.

    logprobs: None is off, else how many of the likeliest tokens to report beside each one chosen.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool = False
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class SessionId:
    """id: equal for the requests of one agent session, which may hold several branches. source: the header
    or field that named it, `prefix` where the conversation's own beginning has to do.
    """

    id: str
    source: str


UNNAMED = SessionId("", "prefix")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn asked for. model: as the client wrote it, "" where it wrote none.

    tool_paths: where in the client's request each tool stands, by name, for messages about it.
    n: how many answers. json_answer: the text of the answer is to be one JSON value, which matches
    answer_schema where the client gave one. thinking_budget: tokens after which thinking is closed.
    include_reasoning: False leaves it out of the answer. legacy_functions: the client knows `function_call`
    only. timeout_s: how long the whole request may take, re-asks included; None sets no limit.
    constrained: an upstream that can should let the model write only calls that fit their schemas.
    settled: by tool, arguments that such an upstream should let stand in its call as they are.
    polling: names of tools that are meant to be called again and again. session: as the body names it,
    until the guard knows it for sure. fork: asked
    on the side, what the client will never send back.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_paths: Mapping[str, str] = field(default_factory=dict)
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    sampling: Sampling = Sampling()
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    json_answer: bool = False
    answer_schema: Mapping[str, Any] | None = None
    thinking_budget: int | None = None
    include_reasoning: bool = True
    legacy_functions: bool = False
    timeout_s: float | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    constrained: bool = False
    settled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    polling: frozenset[str] = frozenset()
    session: SessionId = UNNAMED
    fork: bool = False


class FinishReason(StrEnum):
    stop = "stop"
    length = "length"
    tool_calls = "tool_calls"
    content_filter = "content_filter"


class Verdict(StrEnum):
    """What the guard made of the turn, or in mode `observe` would have made of it.

    reasked: the model was asked again, and what it then said was delivered. failed: no call could be saved.
    """

    none = "none"
    clean = "clean"
    repaired = "repaired"
    reasked = "reasked"
    failed = "failed"


class GuardMode(StrEnum):
    """off: calls are handed over as the model emitted them. observe: so too, and judged for the record.
    repair: validated, and repaired where safe. full: what cannot be repaired is asked for again.
    constrain: full, and decoding is constrained to valid calls from the first attempt on.
    """

    off = "off"
    observe = "observe"
    repair = "repair"
    full = "full"
    constrain = "constrain"


class GiveUp(StrEnum):
    """What the client gets for calls that could not be saved. text: the model's own text, and in words what
    happened. error: an error that says what failed. client: the calls go out
    so that whoever validates refuses them and tells the model; where that is not certain, as text.
    passthrough: the calls as the model emitted them, whatever is wrong with them; else as text.
    """

    text = "text"
    error = "error"
    client = "client"
    passthrough = "passthrough"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. cached_tokens is a part of prompt_tokens, reasoning_tokens of completion_tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class MissCause(StrEnum):
    """Why a prompt had to be computed where an earlier one of its session could have been gone on from.

    none: it went on. cold: the first prompt of its conversation. The engine may not have had it any more:
    evicted, it had to let go; fingerprint, another model left it; late, the disk was too slow; boundary, this
    model's state cannot be cut where the prompts part. template: the same messages, written otherwise. The
    others name what changed in the request; edit: a message, or the history was cut. answer: one of ours
    came back with another meaning, as repaired ones do.
    """

    none = "none"
    cold = "cold"
    evicted = "evicted"
    fingerprint = "fingerprint"
    late = "late"
    boundary = "boundary"
    tools = "tools-changed"
    header = "header-line"
    line = "changing-line"
    system = "system-changed"
    hoisted = "system-hoisted"
    reasoning = "reasoning"
    spelling = "spelling"
    answer = "answer-changed"
    edit = "foreign-edit"
    template = "template"


@dataclass(frozen=True, slots=True)
class CacheReport:
    """reused, total: tokens of the prompt; tier: where they were kept, ram, disk or none. For a miss, at: the
    first token that differs from the closest prompt of the session; message: the index of the first message
    that does, None where none; before and now: the text around that token, then and now.
    """

    reused: int
    total: int
    tier: str = "none"
    cause: MissCause = MissCause.none
    at: int | None = None
    message: int | None = None
    before: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A whole, accepted call. index counts the calls of the turn from 0; arguments is JSON text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that was or could have been chosen, in its own bytes, and its natural log probability."""

    raw: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of the answer. top: the likeliest at its place, best first."""

    chosen: Candidate
    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """The tokens that the upstream just generated, where the request asks for them. They come before the text
    that is shown of them, and for text that is never shown too.
    """

    tokens: tuple[TokenScore, ...]


@dataclass(frozen=True, slots=True)
class ScoredText:
    """Text as in TextDelta, with the scores of the tokens that it ended."""

    text: str
    tokens: tuple[TokenScore, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event of every turn that did not fail. fixes: how many changes the repair made. attempts: how
    often the model was asked. usage: of all attempts together. answer_valid: whether the text is what the
    request's json_answer and answer_schema ask for; None where they ask for nothing. cache: of the first
    attempt's prompt, None where the upstream does not tell. given_up: with the verdict `failed`, what the
    client gets in place of the calls. warnings: what of the request could not be done as it was asked.
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


@dataclass(frozen=True, slots=True)
class OfChoice:
    """An event of one of several answers; a Finish without it then ends them all."""

    index: int
    event: TextDelta | ScoredText | ReasoningDelta | ToolCallReady | Finish


Event = TextDelta | ReasoningDelta | ToolCallReady | Finish | Scores | ScoredText | OfChoice


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: what the events of its stream add up to."""

    content: str
    reasoning: str
    calls: tuple[ToolCallReady, ...]
    finish: Finish
    scores: tuple[TokenScore, ...] = ()


async def collect(events: AsyncIterator[Event]) -> Answer:
    """Adds up the stream of one answer, which must end in a Finish; an error it raises passes through."""
    finish: Finish | None = None
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCallReady] = []
    scores: list[TokenScore] = []
    async for event in events:
        match event:
            case TextDelta(text):
                content.append(text)
            case ReasoningDelta(text):
                reasoning.append(text)
            case ScoredText(text, tokens):
                content.append(text)
                scores.extend(tokens)
            case ToolCallReady():
                calls.append(event)
            case Finish():
                finish = event
    assert finish is not None, "an event stream ended without a Finish"
    return Answer("".join(content), "".join(reasoning), tuple(calls), finish, tuple(scores))


# The worst of several answers' verdicts stands for the request.
_WORST_FIRST = (Verdict.failed, Verdict.reasked, Verdict.repaired, Verdict.clean, Verdict.none)


def total(finishes: Sequence[Finish]) -> Finish:
    """One finish for several answers: their prompt counts once, what was generated adds up."""
    first = finishes[0]
    usage = Usage(
        first.usage.prompt_tokens,
        sum(finish.usage.completion_tokens for finish in finishes),
        first.usage.cached_tokens,
        sum(finish.usage.reasoning_tokens for finish in finishes),
    )
    verdict = min((finish.verdict for finish in finishes), key=_WORST_FIRST.index)
    valid = [finish.answer_valid for finish in finishes if finish.answer_valid is not None]
    return Finish(
        first.reason,
        usage,
        verdict,
        sum(finish.fixes for finish in finishes),
        max(finish.attempts for finish in finishes),
        all(valid) if valid else None,
        first.cache,
        next((finish.given_up for finish in finishes if finish.given_up is not None), None),
        first.warnings,
    )
