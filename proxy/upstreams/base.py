"""Upstream, Generation and their events: what the guard asks of whatever continues a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.events import Usage
from proxy.conversation.logprobs import TokenLogprob
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.upstreams.capabilities import Capabilities
from repair.formats import Wire


@dataclass(frozen=True, slots=True)
class UpstreamStarted:
    """The first event of a generation.

    prompt_tokens, cached_tokens: None where the upstream does not tell them before its first text.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class UpstreamText:
    """Newly generated text and how many tokens it took. scores: of each token, where the request asks for
    them.
    """

    text: str
    tokens: int = 1
    scores: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamReasoning:
    """Reasoning that the upstream marks as such. Reasoning inside UpstreamText is found by its markers."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamRefusal:
    """Text that the upstream marks as its model's refusal to answer."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamExtra:
    """What the upstream sends beside its text and is nothing to us. fields: as in AnswerExtra."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """A call that the upstream returns as structure: its name and the text of its arguments, as emitted.

    Each call is sent once, whole, in order; the guard holds it to the end of the turn anyway.

    complete: False where the upstream's stream ended inside the call.
    tokens: without those of its UpstreamCallParts.
    extra: what the upstream sent beside the call and wants to see again.
    """

    name: str
    arguments: str
    complete: bool = True
    tokens: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpstreamCallPart:
    """The beginning of a call that the upstream is still writing as structure.

    It is sent now and then, so that a call which cannot become a valid one need not be written to its end.
    The call itself comes as UpstreamCall.

    tokens: since the last part.
    """

    name: str
    arguments: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds of a generation: waiting for a place, from there to the first token, from that to the last."""

    queue_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class UpstreamFinish:
    """The last event of a generation that did not fail.

    reason: `stop`, `length` or `content_filter`.
    phases, cache: None where the upstream does not tell.
    unconstrained: decoding was to be constrained and was not, or not to its end.
    asked: the deployments that were asked, in order; the last one answered.
    repeated: the generation was ended because it repeated itself word for word; the reason is `length` then.
    stop_sequence: the stop string that ended it, where the upstream matched one and tells which.
    warnings: what of the request the upstream refused and was not sent.
    """

    reason: str
    usage: Usage
    phases: Phases | None = None
    unconstrained: bool = False
    cache: CacheReport | None = None
    asked: tuple[str, ...] = ()
    repeated: bool = False
    stop_sequence: str | None = None
    warnings: tuple[str, ...] = ()


UpstreamEvent = (
    UpstreamStarted
    | UpstreamText
    | UpstreamReasoning
    | UpstreamRefusal
    | UpstreamExtra
    | UpstreamCallPart
    | UpstreamCall
    | UpstreamFinish
)


class Generation(Protocol):
    """One accepted generation.

    Iterating gives one UpstreamStarted, within seconds, then text, reasoning and calls, then one finish, or
    raises RequestError.

    format: the name of the wire format of its calls, or `auto`.
    generation_prompt: what the chat template put after the conversation, where it may open a reasoning block.
    """

    @property
    def format(self) -> str | Wire: ...

    @property
    def generation_prompt(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[UpstreamEvent]: ...

    async def end(self) -> list[UpstreamEvent]:
        """Ends the generation here, because no more of it is needed. To be called once, instead of reading
        on.

        Returns the calls that have come and were not given out yet, and its finish, with the reason `stop`.
        """
        ...

    async def aclose(self) -> None:
        """Stops the generation at any stage. It may be called twice, and after the finish."""
        ...


class Upstream(Protocol):
    @property
    def models(self) -> tuple[ModelCard, ...]:
        """The models that are served, at least one; the first one answers requests that name none."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(self, request: ChatRequest) -> Generation:
        """Admits a request. On return everything that can refuse it before its first token has been asked.

        Raises BadRequest, ContextTooLong, Overloaded, UpstreamUnavailable.
        """
        ...

    async def check(self) -> None:
        """Returns once a token was really generated; raises UpstreamUnavailable with the reason otherwise."""
        ...

    async def close(self) -> None:
        """Ends what the upstream started. Running generations fail with UpstreamUnavailable."""
        ...

    def abandon(self) -> None:
        """Makes close() end at once, whatever it still writes."""
        ...
