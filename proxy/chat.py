"""The one internal conversation type and the one internal event stream.

Every codec decodes into ChatRequest and encodes Events; every upstream is asked with a ChatRequest. What
a client left out is None here: the upstream knows its model's defaults, the codec does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
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
    """Decoding parameters as the client gave them. None: not given."""

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


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn asked for. model: as the client wrote it, "" where it wrote none.

    tool_paths: where in the client's request each tool stands, by name, for messages about it.
    answer_schema: the JSON Schema that the text of the answer should match, where the client gave one.
    constrained: an upstream that can should let the model write only calls that fit their schemas.
    polling: names of tools that are meant to be called again and again. session_hint: what the body says
    about the agent session it belongs to, "" where it says nothing.
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
    answer_schema: Mapping[str, Any] | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    constrained: bool = False
    polling: frozenset[str] = frozenset()
    session_hint: str = ""


class FinishReason(StrEnum):
    stop = "stop"
    length = "length"
    tool_calls = "tool_calls"


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


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. cached_tokens is a part of prompt_tokens, reasoning_tokens of completion_tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A whole, accepted call. index counts the calls of the turn from 0; arguments is JSON text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event of every turn that did not fail. fixes: how many changes the repair made. attempts: how
    often the model was asked. usage: of all attempts together.
    """

    reason: FinishReason
    usage: Usage
    verdict: Verdict = Verdict.none
    fixes: int = 0
    attempts: int = 1


Event = TextDelta | ReasoningDelta | ToolCallReady | Finish


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: what the events of its stream add up to."""

    content: str
    reasoning: str
    calls: tuple[ToolCallReady, ...]
    finish: Finish


async def collect(events: AsyncIterator[Event]) -> Answer:
    """Adds up a stream. The stream must end in a Finish; an error it raises passes through."""
    finish: Finish | None = None
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCallReady] = []
    async for event in events:
        match event:
            case TextDelta(text):
                content.append(text)
            case ReasoningDelta(text):
                reasoning.append(text)
            case ToolCallReady():
                calls.append(event)
            case Finish():
                finish = event
    assert finish is not None, "an event stream ended without a Finish"
    return Answer("".join(content), "".join(reasoning), tuple(calls), finish)
