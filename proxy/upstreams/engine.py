"""The engine as an upstream: renders the prompt, asks the engine, and remembers the answer's tokens."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.errors import (
    EngineError,
)
from engine.long_text import Budget
from engine.template import ChatTemplate
from engine.types import (
    Finished,
    GenerateRequest,
    ModelInfo,
)
from engine.validate import check_request
from proxy.conversation.cache_report import CacheReport
from proxy.conversation.errors import (
    ContextTooLong,
    Overloaded,
)
from proxy.conversation.message import Message
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.prompts.cache_hint import wanted_keep_s
from proxy.prompts.canonical import ALL_RULES, Rule
from proxy.prompts.constraints import Constraint, Constraints
from proxy.prompts.prompting import Prepared, Prompter
from proxy.prompts.size import SizeBound
from proxy.prompts.think_time import ThinkTime, prefill
from proxy.prompts.think_time import run as run_ahead
from proxy.prompts.thinking import knows_thinking
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.engine_generation import RETRY_AFTER_S, EngineGeneration, translate
from proxy.upstreams.engine_tokenizer import EngineTokenizer
from proxy.upstreams.render_threads import RenderThreads, is_long
from proxy.upstreams.sampling import SamplingDefaults, sampling_params
from proxy.upstreams.wire import find_wire
from repair.formats import AUTO
from repair.formats.row import Row

_log = logging.getLogger(__name__)

_PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """What the settings of a server say about its model's prompts and answers.

    rules: the canonical rules that are on.
    think_time: next prompts are computed while clients are busy.
    stop_repetition: a text that repeats itself is ended.
    answer_tokens: of an answer whose client sets no limit; None leaves it to the model.
    declared: wire formats of the settings.
    """

    rules: frozenset[Rule] = ALL_RULES
    think_time: bool = True
    stop_repetition: bool = True
    answer_tokens: int | None = None
    declared: Sequence[Row] = ()


NOTHING_SAID = AnswerSettings()


class EngineUpstream:
    """One engine process and its model. Made by start()."""

    def __init__(
        self,
        client: EngineClient,
        template: ChatTemplate,
        card: ModelCard,
        defaults: SamplingDefaults,
        capacity: int,
        settings: AnswerSettings = NOTHING_SAID,
        bound: SizeBound | None = None,
    ) -> None:
        self.template = template
        self._client = client
        self._format = find_wire(template, settings.declared).format or AUTO
        self.models = (replace(card, format=str(self._format)),)
        info = client.info
        self._prompter = Prompter(
            template, self._format, info.eos_token_ids, settings.rules, not info.sliceable
        )
        self._ahead = ThinkTime(client, self._begin_next, settings.think_time and info.cache_ram > 0)
        self._constraints = Constraints(self._format, template.source, template.markers)
        self._defaults = defaults
        self._settings = settings
        self._capacity = capacity
        self._live = 0
        self._bound = SizeBound.of(template) if bound is None else bound
        self._renderer = RenderThreads()
        self.capabilities = Capabilities(
            constraint=True,
            sessions=client,
            prefiller=self,
            tokenizer=EngineTokenizer(self._prompter, template, self._renderer, info.context_length),
            stats=client.stats,
            measure=self._measure,
        )

    @classmethod
    async def start(
        cls,
        config: EngineConfig,
        model_id: str,
        settings: AnswerSettings = NOTHING_SAID,
    ) -> EngineUpstream:
        """Starts the engine process and loads its model. Raises EngineError with the reason."""
        path = Path(config.model)
        client = EngineClient(config)
        loading = asyncio.create_task(asyncio.to_thread(_load_template, path))
        try:
            info = await client.start()
            template, bound = await loading
        except BaseException:
            loading.cancel()
            await client.close()
            await asyncio.gather(loading, return_exceptions=True)
            raise
        card = ModelCard(
            model_id,
            int(time.time()),
            info.context_length,
            _fingerprint(model_id, info),
            info.model_type,
            knows_thinking(template.source),
        )
        capacity = config.max_batch + config.queue_limit
        defaults = SamplingDefaults.load(path)
        return cls(client, template, card, defaults, capacity, settings, bound)

    @property
    def client(self) -> EngineClient:
        return self._client

    async def open(self, request: ChatRequest) -> EngineGeneration:
        if self._live >= self._capacity:
            raise Overloaded(f"the queue is full: {self._live} requests", retry_after_s=RETRY_AFTER_S)
        self._measure(request)
        self._live += 1
        self._ahead.arrived(request.session.id)
        self._client.prefetch_session(request.session.id)  # fetched while the prompt is being written
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
        # the engine has joined to this request what it could use of the prefill
        self._ahead.drop(request.session.id)
        return generation

    def foresee(self, request: ChatRequest, reply: Message) -> None:
        """A turn was delivered: while its client is busy, the engine computes the beginning of the next."""
        self._ahead.ended(request, reply)

    async def _begin_next(self, request: ChatRequest, reply: Message | None) -> tuple[int, ...]:
        limit = self._client.info.context_length
        return await self._renderer.run(
            lambda budget: self._prompter.ahead(request, reply, budget),
            Budget(limit - 1, limit),
            long=is_long(request),
        )

    def _measure(self, request: ChatRequest) -> None:
        try:
            self._bound.check(request, self._client.info.context_length)
        except EngineError as error:
            raise translate(error) from error

    async def warm(self, request: ChatRequest) -> Finished:
        """Computes how conversations begin that continue these messages. Raises RequestError."""
        self._measure(request)
        try:
            tokens = await self._begin_next(request, None)
            return await run_ahead(self._client, prefill(tokens, deadline_s=None))
        except EngineError as error:
            raise translate(error) from error

    async def _start_generation(self, request: ChatRequest) -> EngineGeneration:
        limit = self._client.info.context_length
        prepared, constraint = await self._renderer.run(
            lambda budget: self._prepare(request, budget), Budget(limit - 1, limit), long=is_long(request)
        )
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

    def _prepare(self, request: ChatRequest, budget: Budget) -> tuple[Prepared, Constraint]:
        """The prompt and the constraint of a request. Runs in one of the renderer's threads."""
        prepared = self._prompter.prepare(request, budget)
        budget.check()
        return prepared, self._constraints.choose(request, prepared.rendered.generation_prompt)

    def _finish(self, prepared: Prepared, text: str, finished: Finished) -> CacheReport:
        """Remembers an answer, in the renderer's thread, before a prompt can continue it."""
        with contextlib.suppress(RuntimeError):  # the server is being closed
            remembering = self._renderer.later(lambda: self._prompter.answered(prepared, text, finished))
            remembering.add_done_callback(_report_defect)
        return prepared.report(finished)

    def _generate_request(
        self, request: ChatRequest, prepared: Prepared, constraint: Constraint
    ) -> GenerateRequest:
        rendered = prepared.rendered
        limit = self._client.info.context_length
        if len(rendered.tokens) >= limit:
            raise ContextTooLong(len(rendered.tokens), limit)
        room = limit - len(rendered.tokens)
        unasked = self._settings.answer_tokens or self._defaults.unasked_tokens(limit)
        expected = request.expected_tokens
        sampling = sampling_params(
            request.sampling, self._defaults, room, self._settings.stop_repetition, unasked, expected
        )
        return GenerateRequest(
            id=secrets.token_hex(12),
            prompt=rendered.tokens,
            sampling=sampling,
            session=request.session.id,
            deadline_s=request.timeout_s,
            grammar=constraint.grammar,
            thinking=prepared.thinking,
            ephemeral=request.fork,
            announce=True,
            keep_s=wanted_keep_s(request),
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
        self._renderer.close()

    def abandon(self) -> None:
        self._client.kill()


def _load_template(path: Path) -> tuple[ChatTemplate, SizeBound]:
    template = ChatTemplate.load(path)
    return template, SizeBound.of(template)


def _report_defect(remembering: Future[None]) -> None:
    if not remembering.cancelled() and (error := remembering.exception()):
        _log.error("the tokens of an answer could not be stored", exc_info=error)


def _fingerprint(model_id: str, info: ModelInfo) -> str:
    described = f"{model_id} {info.model_type} {info.parameters} {info.vocab_size}"
    return "fp_" + hashlib.sha256(described.encode()).hexdigest()[:10]
