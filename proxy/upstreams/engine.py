"""The engine as an upstream: renders the prompt, asks the engine, and translates its errors."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.errors import (
    ContextOverflow,
    DeadlineExceeded,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
)
from engine.template import ChatTemplate, Rendered
from engine.types import Candidate as EngineCandidate
from engine.types import (
    Finished,
    FinishReason,
    GenerateRequest,
    ModelInfo,
    Output,
    TextChunk,
)
from engine.types import TokenLogprob as EngineLogprob
from engine.validate import check_request
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
from proxy.conversation.message import Message
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.prompts.boundaries import write_prompt
from proxy.prompts.canonical import ALL_RULES, Rule
from proxy.prompts.constraints import NO_CONSTRAINT, Constraint, Constraints
from proxy.prompts.prompting import Prepared, Prompter
from proxy.prompts.think_time import ThinkTime, prefill
from proxy.prompts.think_time import run as run_ahead
from proxy.upstreams.base import Phases, UpstreamEvent, UpstreamFinish, UpstreamStarted, UpstreamText
from proxy.upstreams.sampling import SamplingDefaults, sampling_params, unasked_tokens
from proxy.upstreams.wire import find_wire
from repair.formats import AUTO, Wire
from repair.formats.row import Row

_log = logging.getLogger(__name__)

# How long a request is given to be refused by the engine process before the headers of its stream leave.
_REFUSAL_WINDOW_S = 0.25
_RETRY_AFTER_S = 2.0
_PROBE_TIMEOUT_S = 10.0


class EngineGeneration:
    """The engine's outputs for one request as upstream events.

    on_finish: gets the whole text and the engine's last word, and tells what of the prompt was reused.
    without_grammar: starts it anew where the engine can make nothing of its grammar. on_end: tells the engine
    that no more is needed.
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
    ) -> None:
        self.format, self.structured = format, False
        self.generation_prompt = generation_prompt
        self._outputs = outputs
        self._on_close = on_close
        self._on_finish = on_finish
        self._on_end = on_end
        self._prompt_tokens = prompt_tokens
        self._text: list[str] = []
        self._tokens = 0
        self._without_grammar = without_grammar
        self._unconstrained = constraint.wanted and constraint.grammar is None
        self._closed = False
        self._first = asyncio.create_task(self._next())

    async def admit(self, client: EngineClient) -> None:
        """Waits for the first output or until a refusal is unlikely. Raises the engine's refusal."""
        await asyncio.wait({self._first}, timeout=_REFUSAL_WINDOW_S)
        while not self._first.done() and client.stats().state != "ready":
            await asyncio.wait({self._first}, timeout=_REFUSAL_WINDOW_S)
        if self._first.done():
            self._first.result()

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        yield UpstreamStarted(self._prompt_tokens)
        try:
            yield self._event(await self._first)
            async for output in self._outputs:
                yield self._event(output)
        except EngineError as error:
            raise translate(error) from error

    async def end(self) -> list[UpstreamEvent]:
        """Tokens are counted up to the text that was given out."""
        self._on_end()
        tokens = self._tokens
        try:
            async for output in self._outputs:
                event = self._event(output)
                if isinstance(event, UpstreamFinish):
                    usage = replace(event.usage, completion_tokens=tokens)
                    return [replace(event, reason="stop", usage=usage, repeated=False)]
        except EngineError as error:  # all that is needed has come
            _log.warning("a generation that was to end failed: %s", error)
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
                self._first.exception()  # seen: an error that nobody waited for concerns nobody now
            await self._outputs.aclose()
        finally:
            self._on_close()

    async def _next(self) -> Output:
        try:
            return await anext(self._outputs)
        except InvalidRequest as error:
            if error.param != "grammar" or self._without_grammar is None:
                raise
            _log.warning("decoded without its grammar: %s", error.message)
            self._unconstrained = True
            self._outputs = self._without_grammar()
            return await anext(self._outputs)

    def _event(self, output: Output) -> UpstreamEvent:
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


class EngineUpstream:
    """One engine process and its model. Made by start()."""

    def __init__(
        self,
        client: EngineClient,
        template: ChatTemplate,
        card: ModelCard,
        defaults: SamplingDefaults,
        capacity: int,
        rules: frozenset[Rule] = ALL_RULES,
        think_time: bool = True,
        stop_repetition: bool = True,
        declared: Sequence[Row] = (),
    ) -> None:
        self.models = (card,)
        self.template = template
        self._client = client
        self._format = find_wire(template, declared).format or AUTO
        info = client.info
        self._prompter = Prompter(template, self._format, info.eos_token_ids, rules, not info.sliceable)
        self._ahead = ThinkTime(client, self._begin_next, think_time and info.cache_ram > 0)
        self._constraints = Constraints(self._format, template.source, template.markers)
        self._defaults = defaults
        self._stop_repetition = stop_repetition
        self._capacity = capacity
        self._live = 0
        # Tokenizers are not safe to share between threads; one thread also keeps the event loop free.
        self._renderer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")

    @classmethod
    async def start(
        cls,
        config: EngineConfig,
        model_id: str,
        rules: frozenset[Rule] = ALL_RULES,
        think_time: bool = True,
        stop_repetition: bool = True,
        declared: Sequence[Row] = (),
    ) -> EngineUpstream:
        """Starts the engine process and loads its model. rules: that make prompts canonical. think_time: what
        comes next is computed while clients are busy. stop_repetition: a text that repeats itself is ended.
        declared: formats of the settings.

        Raises EngineError with the reason.
        """
        path = Path(config.model)
        client = EngineClient(config)
        loading = asyncio.create_task(asyncio.to_thread(ChatTemplate.load, path))
        try:
            info = await client.start()
            template = await loading
        except BaseException:
            loading.cancel()
            await client.close()
            await asyncio.gather(loading, return_exceptions=True)
            raise
        card = ModelCard(model_id, int(time.time()), info.context_length, _fingerprint(model_id, info))
        capacity = config.max_batch + config.queue_limit
        defaults = SamplingDefaults.load(path)
        return cls(client, template, card, defaults, capacity, rules, think_time, stop_repetition, declared)

    @property
    def client(self) -> EngineClient:
        return self._client

    async def open(self, request: ChatRequest) -> EngineGeneration:
        if self._live >= self._capacity:
            raise Overloaded(f"the queue is full: {self._live} requests", retry_after_s=_RETRY_AFTER_S)
        self._live += 1
        self._ahead.arrived(request.session.id)
        self._client.prefetch_session(request.session.id)  # while the prompt is being written
        try:
            generation = await self._start_generation(request)
        except EngineError as error:
            self._release()
            raise translate(error) from error
        except BaseException:
            self._release()
            raise
        try:
            await generation.admit(self._client)
        except EngineError as error:
            await generation.aclose()
            raise translate(error) from error
        except BaseException:
            await generation.aclose()
            raise
        self._ahead.drop(request.session.id)  # the engine has joined to this request what it could of it
        return generation

    def foresee(self, request: ChatRequest, reply: Message) -> None:
        """A turn was delivered: while its client is busy, the engine computes how the next one will begin."""
        self._ahead.ended(request, reply)

    async def _begin_next(self, request: ChatRequest, reply: Message | None) -> tuple[int, ...]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._renderer, self._prompter.ahead, request, reply)

    async def warm(self, request: ChatRequest) -> Finished:
        """Computes how conversations begin that go on from these messages. Raises RequestError."""
        try:
            tokens = await self._begin_next(request, None)
            return await run_ahead(self._client, prefill(tokens, deadline_s=None))
        except EngineError as error:
            raise translate(error) from error

    async def _start_generation(self, request: ChatRequest) -> EngineGeneration:
        loop = asyncio.get_running_loop()
        prepared, constraint = await loop.run_in_executor(self._renderer, self._prepare, request)
        asked = self._generate_request(request, prepared, constraint)
        check_request(asked, self._client.info)
        return EngineGeneration(
            self._client.generate(asked),
            self._format,
            prepared.rendered.generation_prompt,
            self._release,
            lambda text, finished: self._finish(prepared, text, finished),
            constraint,
            lambda: self._client.generate(msgspec.structs.replace(asked, grammar=None)),
            lambda: self._client.stop(asked.id),
            len(asked.prompt),
        )

    def _release(self) -> None:
        self._live -= 1

    def _prepare(self, request: ChatRequest) -> tuple[Prepared, Constraint]:
        """In the renderer's thread."""
        prepared = self._prompter.prepare(request)
        return prepared, self._constraints.choose(request, prepared.rendered.generation_prompt)

    def _finish(self, prepared: Prepared, text: str, finished: Finished) -> CacheReport:
        """The same thread remembers the answer, before it can be asked to go on from it."""
        with contextlib.suppress(RuntimeError):  # the server is being closed
            remembering = self._renderer.submit(self._prompter.answered, prepared, text, finished)
            remembering.add_done_callback(_report_defect)
        return prepared.report(finished)

    def _generate_request(
        self, request: ChatRequest, prepared: Prepared, constraint: Constraint
    ) -> GenerateRequest:
        rendered = prepared.rendered
        limit = self._client.info.context_length
        if len(rendered.tokens) >= limit:
            raise ContextTooLong(len(rendered.tokens), limit)
        room, unasked = limit - len(rendered.tokens), unasked_tokens(limit)
        sampling = sampling_params(request.sampling, self._defaults, room, self._stop_repetition, unasked)
        return GenerateRequest(
            id=secrets.token_hex(12),
            prompt=rendered.tokens,
            sampling=sampling,
            session=request.session.id,
            deadline_s=request.timeout_s,
            grammar=constraint.grammar,
            thinking=prepared.thinking,
            ephemeral=request.fork,
            marks=prepared.marks,
        )

    async def check(self) -> None:
        try:
            await self._client.probe(_PROBE_TIMEOUT_S)
        except EngineError as error:
            raise translate(error) from error

    async def close(self) -> None:
        await self._ahead.close()
        await self._client.close()
        self._renderer.shutdown(wait=False, cancel_futures=True)


def _report_defect(remembering: Future[None]) -> None:
    if not remembering.cancelled() and (error := remembering.exception()):
        _log.error("an answer could not be remembered", exc_info=error)


def render_prompt(template: ChatTemplate, request: ChatRequest) -> Rendered:
    """The prompt of a conversation that nothing is remembered of. Raises InvalidRequest."""
    written = write_prompt(template, request)
    return Rendered(template.encode_cut(written.text), written.plain, written.generation_prompt)


def translate(error: EngineError) -> RequestError:
    """The engine's error as the client gets it."""
    match error:
        case InvalidRequest():
            # the prompt is ours: what is wrong with it lies in the messages
            return BadRequest(error.message, param="messages" if error.param == "prompt" else error.param)
        case ContextOverflow():
            return ContextTooLong(error.tokens, error.limit)
        case QueueFull():
            return Overloaded(str(error), retry_after_s=error.retry_after_s)
        case DeadlineExceeded():
            return RequestTimeout(error.deadline_s)
        case EngineUnavailable():
            return UpstreamUnavailable(str(error), retry_after_s=error.retry_after_s)
        case _:
            return UpstreamUnavailable(str(error), retry_after_s=_RETRY_AFTER_S)


def _score(token: EngineLogprob) -> TokenLogprob:
    return TokenLogprob(_candidate(token.chosen), tuple(map(_candidate, token.top)))


def _candidate(candidate: EngineCandidate) -> Candidate:
    return Candidate(candidate.raw, candidate.logprob)


def _fingerprint(model_id: str, info: ModelInfo) -> str:
    described = f"{model_id} {info.model_type} {info.parameters} {info.vocab_size}"
    return "fp_" + hashlib.sha256(described.encode()).hexdigest()[:10]
