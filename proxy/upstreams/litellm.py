"""Upstreams through LiteLLM: its Router picks the deployment and cools down those that fail; we ask, add up
its chunks and translate its errors. The only file that imports litellm, and only when an upstream is used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import httpx

from proxy.chat import ChatRequest
from proxy.errors import (
    BadRequest,
    ContextTooLong,
    Overloaded,
    RequestError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.upstreams.assembly import Assembly
from proxy.upstreams.base import UpstreamEvent
from proxy.upstreams.deployments import (
    NO_KEY,
    Deployment,
    Group,
    find_deployments,
    group_deployments,
    list_models,
    router_entry,
)
from proxy.upstreams.mapping import completion_params
from proxy.upstreams.refusals import Failure, refusal
from proxy.upstreams.replicas import Standings
from proxy.upstreams.target import Target

_log = logging.getLogger(__name__)

_LISTING_TIMEOUT_S = 10.0
_BACKOFF_S = 0.2
# Sent to servers of open models although LiteLLM does not know whether their models take it.
_ALWAYS = ("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "seed")


@dataclass(frozen=True, slots=True)
class Routing:
    """strategy: how the Router picks among targets of one name. cooldown_s: how long it leaves out one that
    failed. retries: how often a name is asked again before anything has come. window_s: how long an upstream
    is given to refuse a request before the headers of our answer leave.
    """

    strategy: str = "simple-shuffle"
    cooldown_s: float = 5.0
    retries: int = 2
    window_s: float = 2.0


def load_litellm() -> ModuleType:
    """LiteLLM without its network habits: no cost map, no .env file, no reports, no prints. Takes seconds."""
    for name in ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "BLOG_POSTS"):
        os.environ.setdefault(f"LITELLM_LOCAL_{name}", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    # A model that repeats itself is not a broken upstream.
    os.environ.setdefault("REPEATED_STREAMING_CHUNK_LIMIT", str(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own types, to nobody here
        return _load_quietly()


def _load_quietly() -> ModuleType:
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.disable_streaming_logging = True
    litellm.disable_hf_tokenizer_download = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        # Its lines at lower levels hold requests and keys; what fails is told to the client.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Loads what it else would load during the first request.
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    messages = [{"role": "user", "content": "x"}]
    for _ in litellm.completion("openai/x", messages, tools=tools, stream=True, mock_response="x"):
        pass
    return litellm


class HostedGeneration:
    """One request: asked, and asked again or elsewhere, until the first event has come; then its stream."""

    generation_prompt = ""

    def __init__(self, upstream: LiteLLMUpstream, request: ChatRequest, names: Sequence[str]) -> None:
        self._upstream = upstream
        self._request = request
        self._names = names
        self._group = upstream.group(names[0])
        self._stream: Any = None
        self._assembly = Assembly()
        self._ended = False
        self._first = asyncio.create_task(self._begin())

    @property
    def format(self) -> str:
        return self._group.format

    async def admit(self) -> None:
        """Waits until something has come or a refusal is unlikely. Raises the refusal."""
        await asyncio.wait({self._first}, timeout=self._upstream.routing.window_s)
        if self._first.done():
            self._first.result()

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        for event in await self._first:
            yield event
        while not self._ended:
            for event in await self._next():
                yield event

    async def aclose(self) -> None:
        if not self._first.done():
            self._first.cancel()
            await asyncio.wait({self._first})
        elif not self._first.cancelled():
            self._first.exception()  # seen: an error that nobody waited for concerns nobody now
        await self._close_stream()

    async def _close_stream(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()

    async def _begin(self) -> list[UpstreamEvent]:
        """The first events, from the first name that gives any. Raises what the last one said."""
        error: RequestError | None = None
        for name in self._names:
            self._group = self._upstream.group(name)
            try:
                return await self._begin_with(name)
            except (UpstreamTimeout, UpstreamUnavailable, Overloaded, ContextTooLong) as failed:
                error = error or failed
            except BadRequest:
                raise
            except RequestError as failed:
                error = error or failed
            if name != self._names[-1]:
                _log.warning("%s failed, asking %s", name, self._names[self._names.index(name) + 1])
        assert error is not None
        raise error

    async def _begin_with(self, name: str) -> list[UpstreamEvent]:
        """Asks one name again while that may help and nothing has come."""
        aims = self._upstream.aims(name, self._request.session.id)
        retries = max(self._upstream.routing.retries, len(aims) - 1)
        for attempt in range(retries + 1):
            aim = aims[attempt % len(aims)]
            try:
                events = await self._ask(aim)
            except (UpstreamUnavailable, UpstreamTimeout, Overloaded) as error:
                self._upstream.standings.failed(aim)
                await self._close_stream()
                # who says when to come again is not to be asked before, but another target may be
                alone = isinstance(error, Overloaded) and self._group.size == 1
                if attempt == retries or alone:
                    raise
                _log.info("%s failed before it said anything, asking again", aim)
            else:
                self._upstream.standings.served(aim)
                return events
            await asyncio.sleep(_BACKOFF_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _ask(self, aim: str) -> list[UpstreamEvent]:
        """aim: what the Router is asked for."""
        name = self._group.card.id
        self._assembly = Assembly()
        self._ended = False
        with self._upstream.translated(name, self._group.timeout_s):
            async with asyncio.timeout(self._group.timeout_s):
                self._stream = await self._upstream.ask(aim, self._group, self._request)
        if self._stream is None:  # LiteLLM's answer to a 422 where it drops parameters
            raise BadRequest(f"upstream {name}: it cannot process the request")
        while True:
            events = await self._next()
            if events:
                return events

    async def _next(self) -> list[UpstreamEvent]:
        """The events of the next chunk, at the end those of the calls and the finish. Raises RequestError."""
        stream = self._stream
        with self._upstream.translated(self._group.card.id, self._group.timeout_s):
            async with asyncio.timeout(self._group.timeout_s):
                chunk = await anext(stream, None)
        if chunk is not None:
            return self._assembly.feed(chunk)
        self._ended = True
        # LiteLLM makes up a finish where the upstream sent none; only the real one is among its chunks.
        if not any(choice.finish_reason for one in stream.chunks[-4:] for choice in one.choices):
            raise UpstreamUnavailable(
                f"upstream {self._group.card.id}: its stream ended without a finish", retry_after_s=1.0
            )
        return self._assembly.end()


class LiteLLMUpstream:
    """Made by start()."""

    def __init__(
        self,
        litellm: ModuleType,
        deployments: Sequence[Deployment],
        routing: Routing,
        http: httpx.AsyncClient,
    ) -> None:
        self._litellm = litellm
        self._deployments = tuple(deployments)
        self._http = http
        self._secrets = tuple({one.secret for one in deployments if one.secret and one.secret != NO_KEY})
        self._groups = group_deployments(deployments)
        self.models = tuple(group.card for group in self._groups.values())
        self.routing = routing
        self.standings = Standings(routing.cooldown_s)
        self._router = litellm.Router(
            model_list=[router_entry(one, self._groups[one.name]) for one in deployments],
            routing_strategy=routing.strategy,
            cooldown_time=routing.cooldown_s,
            allowed_fails=0,
            # Retries and fallbacks are ours: only we know whether the client has seen something.
            num_retries=0,
        )

    @classmethod
    async def start(
        cls, targets: Sequence[Target], routing: Routing, env: Mapping[str, str], key: str | None = None
    ) -> LiteLLMUpstream:
        """Loads LiteLLM and asks the servers that are named by base_url alone what they serve.

        env: where the keys are. key: for servers that name no variable. Raises StartError.
        """
        loading = asyncio.create_task(asyncio.to_thread(load_litellm))
        http = httpx.AsyncClient(timeout=_LISTING_TIMEOUT_S)
        try:
            found = [await find_deployments(http, target, env, key) for target in targets]
            litellm = await loading
        except BaseException:
            await asyncio.gather(loading, return_exceptions=True)
            await http.aclose()
            raise
        deployments = [one for some in found for one in some]
        return cls(litellm, [_with_context(litellm, one) for one in deployments], routing, http)

    def group(self, name: str) -> Group:
        return self._groups[name]

    async def open(self, request: ChatRequest) -> HostedGeneration:
        name = request.model if request.model in self._groups else self.models[0].id
        names = [name, *(one for one in self._groups[name].fallbacks if one in self._groups)]
        generation = HostedGeneration(self, request, names)
        try:
            await generation.admit()
        except BaseException:
            await generation.aclose()
            raise
        return generation

    def aims(self, name: str, session: str) -> tuple[str, ...]:
        """What to ask the Router for, best first: the name, or the replicas in the session's order."""
        replicas = self._groups[name].replicas
        return self.standings.order(session, tuple(replicas.values())) or (name,)

    async def ask(self, aim: str, group: Group, request: ChatRequest) -> Any:
        """LiteLLM's stream of chunks. Raises what LiteLLM raises: see translated()."""
        open_server = group.open_server
        params = completion_params(request, open_server=open_server)
        if open_server:
            params["allowed_openai_params"] = [one for one in _ALWAYS if one in params]
        return await self._router.acompletion(aim, disable_fallbacks=True, **params)

    def translated(self, name: str, timeout_s: float) -> _Translated:
        """A context in which LiteLLM's exceptions become RequestErrors."""
        return _Translated(self._to_refusal, name, timeout_s)

    def _to_refusal(self, error: Exception, name: str) -> RequestError:
        cooldown = getattr(error, "cooldown_time", None)
        if cooldown is not None:
            return UpstreamUnavailable(
                f"upstream {name}: all of its servers have failed lately", retry_after_s=float(cooldown)
            )
        return refusal(_failure(error), name, self._secrets)

    async def check(self) -> None:
        """Asks the servers named by base_url for their list of models, which costs no tokens; one answer is
        enough. Hosted models are taken to be there: to ask them costs money.
        """
        servers = {(one.target.base_url, one.secret) for one in self._deployments}
        said = ""
        for base_url, secret in servers:
            if base_url is None:
                return
            try:
                await list_models(self._http, base_url, secret)
                return
            except UpstreamUnavailable as error:
                said = error.message
        raise UpstreamUnavailable(said)

    async def close(self) -> None:
        await self._http.aclose()
        await self._litellm.close_litellm_async_clients()


class _Translated:
    """See LiteLLMUpstream.translated()."""

    def __init__(
        self, translate: Callable[[Exception, str], RequestError], name: str, timeout_s: float
    ) -> None:
        self._translate = translate
        self._name = name
        self._timeout_s = timeout_s

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case None | RequestError():
                return
            case TimeoutError():
                said = f"upstream {self._name}: nothing came for {self._timeout_s:g} s"
                raise UpstreamTimeout(said) from error
            case Exception():
                raise self._translate(error, self._name) from error


def _failure(error: Exception) -> Failure:
    response = getattr(error, "response", None)
    headers = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None) or {}
    status = getattr(error, "status_code", None)
    return Failure(
        type(error).__name__,
        status if isinstance(status, int) else 0,
        getattr(error, "message", None) or str(error),
        {str(name).lower(): str(value) for name, value in dict(headers).items()},
    )


def _with_context(litellm: ModuleType, deployment: Deployment) -> Deployment:
    """Hosted models get the context length that LiteLLM's table has for them."""
    if deployment.context_length:
        return deployment
    try:
        known = litellm.get_model_info(deployment.model).get("max_input_tokens")
    except Exception:  # LiteLLM raises a bare one for models that it does not know
        return deployment
    return replace(deployment, context_length=known or 0)
