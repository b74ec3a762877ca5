"""One generation of the engine as upstream events, and the engine's errors translated to our error tree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace

from engine.client import EngineClient
from engine.errors import (
    ContextOverflow,
    DeadlineExceeded,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
)
from engine.types import Began, Finished, FinishReason, Output, TextChunk
from engine.types import Candidate as EngineCandidate
from engine.types import TokenLogprob as EngineLogprob
from proxy.conversation.cache_report import CacheReport
from proxy.conversation.errors import (
    BadRequest,
    ContextTooLong,
    Overloaded,
    RequestError,
    RequestTimeout,
    UpstreamUnavailable,
)
from proxy.conversation.events import Usage
from proxy.conversation.logprobs import Candidate, TokenLogprob
from proxy.prompts.constraints import NO_CONSTRAINT, Constraint
from proxy.upstreams.base import Phases, UpstreamEvent, UpstreamFinish, UpstreamStarted, UpstreamText
from repair.formats import Wire

_log = logging.getLogger(__name__)

# How long the engine process may take to refuse a request before the headers of its stream are sent.
_REFUSAL_WINDOW_S = 0.25
RETRY_AFTER_S = 2.0
# How long the figures of the cache are waited for at most: a request that waits for its place, or for its
# prefix to come from the disk, has none yet.
_PLACE_WINDOW_S = 2.0


class EngineGeneration:
    """The engine's outputs for one request as upstream events.

    on_finish: gets the whole text and the engine's last event; returns what of the prompt was reused.
    without_grammar: starts the generation again where the engine cannot use its grammar.
    on_end: tells the engine that no more is needed.
    """

    def __init__(
        self,
        outputs: AsyncGenerator[Output, None],
        format: str | Wire,
        generation_prompt: str,
        on_close: Callable[[], None],
        on_finish: Callable[[str, Finished], CacheReport],
        constraint: Constraint = NO_CONSTRAINT,
        without_grammar: Callable[[], AsyncGenerator[Output, None]] | None = None,
        on_end: Callable[[], None] = lambda: None,
        prompt_tokens: int | None = None,
        place_window_s: float = _PLACE_WINDOW_S,
    ) -> None:
        self.format = format
        self.generation_prompt = generation_prompt
        self._outputs = outputs
        self._on_close = on_close
        self._on_finish = on_finish
        self._on_end = on_end
        self._prompt_tokens = prompt_tokens
        self._place_window_s = place_window_s
        self._text: list[str] = []
        self._tokens = 0
        self._without_grammar = without_grammar
        self._unconstrained = constraint.wanted and constraint.grammar is None
        self._closed = False
        self._first = asyncio.create_task(self._next())

    async def admit(self, client: EngineClient) -> None:
        """Waits for the first output, or until a refusal is unlikely. Raises the engine's refusal."""
        await asyncio.wait({self._first}, timeout=_REFUSAL_WINDOW_S)
        while not self._first.done() and client.stats().state != "ready":
            await asyncio.wait({self._first}, timeout=_REFUSAL_WINDOW_S)
        if self._first.done():
            self._first.result()

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        await asyncio.wait({self._first}, timeout=self._place_window_s)
        yield UpstreamStarted(self._prompt_tokens, self._cached_tokens())
        try:
            first = await self._first
            if not isinstance(first, Began):
                yield self._event(first)
            async for output in self._outputs:
                if not isinstance(output, Began):
                    yield self._event(output)
        except EngineError as error:
            raise translate(error) from error

    def _cached_tokens(self) -> int | None:
        """Of the prompt, once it is known; None also where the request has failed by now."""
        known = self._first.done() and not self._first.cancelled() and self._first.exception() is None
        first = self._first.result() if known else None
        return first.cached_tokens if isinstance(first, Began) else None

    async def end(self) -> list[UpstreamEvent]:
        """Ends the generation; its tokens are counted up to the text that was given out."""
        self._on_end()
        tokens = self._tokens
        try:
            async for output in self._outputs:
                event = None if isinstance(output, Began) else self._event(output)
                if isinstance(event, UpstreamFinish):
                    usage = replace(event.usage, completion_tokens=tokens)
                    return [replace(event, reason="stop", usage=usage, repeated=False)]
        except EngineError as error:  # all that is needed has come
            _log.warning("a generation failed while it was being ended: %s", error)
        return [UpstreamFinish("stop", Usage(completion_tokens=tokens))]

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self._first.done():
                self._first.cancel()
                await asyncio.wait({self._first})
            elif not self._first.cancelled():
                self._first.exception()  # marks the error as seen: nobody waits for it any more
            await self._outputs.aclose()
        finally:
            self._on_close()

    async def _next(self) -> Output:
        try:
            return await anext(self._outputs)
        except InvalidRequest as error:
            if error.param != "grammar" or self._without_grammar is None:
                raise
            _log.warning("the rest of the answer was decoded without its grammar: %s", error.message)
            self._unconstrained = True
            self._outputs = self._without_grammar()
            return await anext(self._outputs)

    def _event(self, output: TextChunk | Finished) -> UpstreamEvent:
        match output:
            case TextChunk():
                self._text.append(output.text)
                self._tokens += output.tokens
                return UpstreamText(output.text, output.tokens, tuple(map(_score, output.logprobs)))
            case Finished():
                usage = Usage(output.prompt_tokens, output.completion_tokens, output.cached_tokens)
                phases = Phases(output.queue_s, output.prefill_s, output.decode_s)
                unconstrained = self._unconstrained or output.unconstrained
                cache = self._on_finish("".join(self._text), output)
                repeated = output.reason is FinishReason.repetition
                reason = "length" if repeated else output.reason.value
                return UpstreamFinish(reason, usage, phases, unconstrained, cache, repeated=repeated)


def translate(error: EngineError) -> RequestError:
    """The client's error for an error of the engine."""
    match error:
        case InvalidRequest():
            # the prompt is ours, so that its fault lies in the messages
            return BadRequest(error.message, param="messages" if error.param == "prompt" else error.param)
        case ContextOverflow():
            return ContextTooLong(error.tokens, error.limit, estimated=error.estimated)
        case QueueFull():
            return Overloaded(str(error), retry_after_s=error.retry_after_s)
        case DeadlineExceeded():
            return RequestTimeout(error.deadline_s)
        case EngineUnavailable():
            return UpstreamUnavailable(str(error), retry_after_s=error.retry_after_s)
        case _:
            return UpstreamUnavailable(str(error), retry_after_s=RETRY_AFTER_S)


def _score(token: EngineLogprob) -> TokenLogprob:
    return TokenLogprob(_candidate(token.chosen), tuple(map(_candidate, token.top)))


def _candidate(candidate: EngineCandidate) -> Candidate:
    return Candidate(candidate.raw, candidate.logprob)
