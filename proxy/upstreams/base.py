"""What stands behind the guard: something that continues a conversation with text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.events import Usage
from proxy.conversation.logprobs import TokenLogprob
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.upstreams.capabilities import Capabilities
from repair.formats import Wire


@dataclass(frozen=True, slots=True)
class UpstreamStarted:
    """The first event of a generation. prompt_tokens, cached_tokens: None where the upstream does not tell
    them before its first text.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class UpstreamText:
    """Newly generated text and how many tokens it took. scores: of each of them, where the request asks."""

    text: str
    tokens: int = 1
    scores: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamReasoning:
    """Thinking that the upstream tells apart itself. Thinking inside UpstreamText is found by its markers."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """A call that the upstream returns as structure: its name and the text of its arguments, as emitted.

    Sent once, whole, in the calls' order; the guard holds it to the end of the turn anyway. complete: False
    where the upstream's stream ended inside it. tokens: without those of its UpstreamCallParts.
    """

    name: str
    arguments: str
    complete: bool = True
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamCallPart:
    """A call that the upstream is still writing as structure, from its beginning on: sent now and then, so
    that one which cannot become a call is not written to its end. The call itself comes as UpstreamCall.
    tokens: since the last part.
    """

    name: str
    arguments: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds that a generation waited for a place, took to its first token, and from that to its last."""

    queue_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class UpstreamFinish:
    """The last event of a generation that did not fail. reason: `stop`, `length` or `content_filter`. phases:
    where known. unconstrained: decoding was to be constrained, and was not to its end. cache: where known.
    asked: the deployments that were asked, in order, the last of which answered. repeated: it was ended
    because it repeated itself word for word; the reason is `length` then. stop_sequence: which stop string
    ended it, where the upstream matched one and tells.
    """

    reason: str
    usage: Usage
    phases: Phases | None = None
    unconstrained: bool = False
    cache: CacheReport | None = None
    asked: tuple[str, ...] = ()
    repeated: bool = False
    stop_sequence: str | None = None


UpstreamEvent = (
    UpstreamStarted | UpstreamText | UpstreamReasoning | UpstreamCallPart | UpstreamCall | UpstreamFinish
)


class Generation(Protocol):
    """One accepted generation. format: the name of the wire format of its calls, or `auto`.

    generation_prompt: what the chat template put after the conversation, where it may open a reasoning
    block. Iterating gives one UpstreamStarted, at once, then texts, reasoning and calls, then one finish, or
    raises RequestError.
    """

    @property
    def format(self) -> str | Wire: ...

    @property
    def generation_prompt(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[UpstreamEvent]: ...

    async def end(self) -> list[UpstreamEvent]:
        """Ends the generation where it is, because nothing more of it is needed: the calls that have come and
        were not given yet, and its finish, of the reason `stop`. To be asked once, instead of reading on.
        """
        ...

    async def aclose(self) -> None:
        """Stops the generation wherever it is. Safe to call twice, and after the finish."""
        ...


class Upstream(Protocol):
    @property
    def models(self) -> tuple[ModelCard, ...]:
        """What is served, at least one; the first answers requests that name none."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(self, request: ChatRequest) -> Generation:
        """Everything that can refuse the request before its first token has been asked on return.

        Raises BadRequest, ContextTooLong, Overloaded, UpstreamUnavailable.
        """
        ...

    async def check(self) -> None:
        """Returns once a token was really generated; raises UpstreamUnavailable with the reason."""
        ...

    async def close(self) -> None:
        """Ends what it started. Live generations fail with UpstreamUnavailable."""
        ...

    def abandon(self) -> None:
        """close() shall end at once, whatever it still writes."""
        ...
