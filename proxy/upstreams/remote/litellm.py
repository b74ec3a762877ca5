"""Upstreams through LiteLLM: its Router picks the deployment and leaves out those that failed.

Servers named by a base_url are then asked by servers.py, all other models by LiteLLM. This is the only file
that imports litellm, and only when an upstream is used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import aiohttp
import httpx

from proxy.conversation.errors import (
    BadRequest,
    RequestError,
    SettingsError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.conversation.request import ChatRequest, tools_left_out
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.remote.assembly import Assembly
from proxy.upstreams.remote.deployments import (
    NO_KEY,
    Deployment,
    Group,
    check_server,
    find_deployments,
    group_deployments,
    router_entry,
)
from proxy.upstreams.remote.failures import ServerFailed
from proxy.upstreams.remote.generation import HostedGeneration, Source
from proxy.upstreams.remote.litellm_router import Routes
from proxy.upstreams.remote.mapping import completion_params
from proxy.upstreams.remote.refusals import Failure, refusal
from proxy.upstreams.remote.replicas import Standings
from proxy.upstreams.remote.servers import make_session
from proxy.upstreams.remote.target import Target
from proxy.upstreams.remote.unsent import Sent, without_fields

_LISTING_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Routing:
    """How upstreams are chosen.

    strategy: how the Router picks among targets of one name.
    cooldown_s: how long it leaves out a target that failed.
    retries: how often a name is asked again before anything has come.
    window_s: how long an upstream may take to refuse a request before the headers of our answer are sent.
    stop_repetition: a stream that repeats itself word for word is left.
    """

    strategy: str = "simple-shuffle"
    cooldown_s: float = 5.0
    retries: int = 2
    window_s: float = 2.0
    stop_repetition: bool = True


def load_litellm() -> ModuleType:
    """LiteLLM without its network habits: no cost map, no .env file, no reports, no prints, no pictures
    fetched for clients. Loading takes seconds.
    """
    for name in ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "BLOG_POSTS"):
        os.environ.setdefault(f"LITELLM_LOCAL_{name}", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    # a model that repeats itself is not a broken upstream
    os.environ.setdefault("REPEATED_STREAMING_CHUNK_LIMIT", str(2**31))
    # pictures that a client names by a URL are not fetched for providers that do not fetch them themselves
    os.environ.setdefault("MAX_IMAGE_URL_DOWNLOAD_SIZE_MB", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about LiteLLM's own types, which concern nobody here
        return _load_quietly()


def _load_quietly() -> ModuleType:
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.disable_streaming_logging = True
    litellm.disable_hf_tokenizer_download = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        # Its log lines at lower levels hold requests and keys; the client is told what fails.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Loads what would otherwise be loaded during the first request.
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    messages = [{"role": "user", "content": "x"}]
    for _ in litellm.completion("openai/x", messages, tools=tools, stream=True, mock_response="x"):
        pass
    return litellm


class HostedSource:
    """The answer of a model that LiteLLM knows how to ask. place: known once the source has been opened."""

    def __init__(self, router: Any, aim: str, group: Group) -> None:
        self._router = router
        self._group = group
        self._stream: Any = None
        self.place = aim
        self.sent = Sent()

    async def open(self, request: ChatRequest, unsent: frozenset[str]) -> None:
        """Asks the model. Raises what LiteLLM raises, and BadRequest for a raw prompt, which only servers
        take.
        """
        if request.raw is not None:
            raise BadRequest(
                f"prompt: {self._group.card.id} is a hosted model and takes conversations alone; "
                "send it as messages to /v1/chat/completions",
                param="prompt",
            )
        sent = without_fields(completion_params(request, open_server=False), unsent)
        self.sent = replace(sent, warnings=tools_left_out(request.hosted_tools))
        self._stream = await self._router.acompletion(self.place, disable_fallbacks=True, **sent.params)
        if self._stream is None:  # what LiteLLM returns for a 422 where it drops parameters
            raise BadRequest(f"upstream {self._group.card.id}: it cannot process the request")
        self.place = self._stream.hidden_params.get("model_id") or self.place

    async def next(self) -> Any | None:
        return await anext(self._stream, None)

    def finished(self, assembly: Assembly) -> bool:
        """Whether a real finish has come: LiteLLM makes one up where the upstream sent none, and only a real
        one is among its chunks.
        """
        return any(choice.finish_reason for one in self._stream.chunks[-4:] for choice in one.choices)

    def failed(self, error: RequestError) -> None:
        """Does nothing: LiteLLM has told its Router."""

    async def aclose(self, tokens: int | None) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()


class LiteLLMUpstream:
    """Other servers and hosted models as one upstream. Made by start()."""

    capabilities = Capabilities(structured_calls=True, hosted_tools=True)

    def __init__(
        self,
        litellm: ModuleType,
        deployments: Sequence[Deployment],
        routing: Routing,
        http: httpx.AsyncClient,
        session: aiohttp.ClientSession,
        secrets: Sequence[str] = (),
    ) -> None:
        self._litellm = litellm
        self._deployments = tuple(deployments)
        self._http = http
        self._session = session
        own = {one.secret for one in deployments if one.secret and one.secret != NO_KEY}
        self._secrets = tuple({*own, *secrets})
        self._groups = group_deployments(deployments)
        self.models = tuple(group.card for group in self._groups.values())
        self.retries = routing.retries
        self.window_s = routing.window_s
        self.stop_repetition = routing.stop_repetition
        self.standings = Standings(routing.cooldown_s)
        self.unsent: dict[str, frozenset[str]] = {}
        self._router = litellm.Router(
            model_list=[router_entry(one, self._groups[one.name]) for one in deployments],
            routing_strategy=routing.strategy,
            cooldown_time=routing.cooldown_s,
            allowed_fails=0,
            # Retries and fallbacks are ours: only we know whether the client has seen something.
            num_retries=0,
        )
        self._routes = Routes(self._router, session, self._deployments)

    @classmethod
    async def start(
        cls,
        targets: Sequence[Target],
        routing: Routing,
        env: Mapping[str, str],
        key: str | None = None,
        model: str | None = None,
    ) -> LiteLLMUpstream:
        """Loads LiteLLM and asks the servers that are named by base_url alone what they serve. Raises
        StartError.

        env: where the keys are.
        key: for servers that name no variable of their own.
        model: what is asked for at servers that list nothing.
        """
        loading = asyncio.create_task(asyncio.to_thread(load_litellm))
        http = httpx.AsyncClient(timeout=_LISTING_TIMEOUT_S)
        try:
            found = [await find_deployments(http, target, env, key, model) for target in targets]
            litellm = await loading
            deployments = [one for some in found for one in some]
            _refuse_unknown(litellm, deployments)
        except BaseException:
            await asyncio.gather(loading, return_exceptions=True)
            await http.aclose()
            raise
        known = [_with_context(litellm, one) for one in deployments]
        return cls(litellm, known, routing, http, make_session(), _keys(env))

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

    async def source(self, aim: str, group: Group) -> Source:
        """The source of an answer. Raises what LiteLLM raises: see translated()."""
        if group.open_server:
            return await self._routes.pick(aim, group)
        return HostedSource(self._router, aim, group)

    def translated(self, name: str, timeout_s: float) -> _Translated:
        """A context in which the libraries' exceptions become RequestErrors."""
        return _Translated(self._to_refusal, name, timeout_s)

    def _to_refusal(self, error: Exception, name: str) -> RequestError:
        if isinstance(error, ServerFailed):
            return refusal(error.failure, name, self._secrets)
        cooldown = getattr(error, "cooldown_time", None)
        if cooldown is not None:
            return UpstreamUnavailable(
                f"upstream {name}: all of its servers failed a short while ago and are not asked now",
                retry_after_s=float(cooldown),
            )
        return refusal(_failure(error), name, self._secrets)

    async def check(self) -> None:
        """Asks the servers named by base_url for their list of models, which costs no tokens; one answer is
        enough. Hosted models are taken to be there, because asking them costs money.
        """
        servers = {(one.target.base_url, one.secret) for one in self._deployments}
        said = ""
        for base_url, secret in servers:
            if base_url is None:
                return
            try:
                await check_server(self._http, base_url, secret)
                return
            except UpstreamUnavailable as error:
                said = error.message
        raise UpstreamUnavailable(said)

    async def close(self) -> None:
        await self.close_servers()
        await self._litellm.close_litellm_async_clients()

    def abandon(self) -> None:
        """Does nothing: close() waits for nothing."""

    async def close_servers(self) -> None:
        """Closes our own connections. Those of LiteLLM belong to the whole process."""
        await self._http.aclose()
        await self._session.close()


def _keys(env: Mapping[str, str]) -> list[str]:
    """What LiteLLM may find as a key for a hosted model; it is kept out of every message."""
    return [value for name, value in env.items() if name.endswith("_API_KEY") and len(value) >= 8]


class _Translated:
    """The context of LiteLLMUpstream.translated()."""

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
                said = f"upstream {self._name}: it sent nothing for {self._timeout_s:g} s"
                raise UpstreamTimeout(said) from error
            case Exception():
                raise self._translate(error, self._name) from error


def _failure(error: Exception) -> Failure:
    response = getattr(error, "response", None)
    headers = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None) or {}
    status = getattr(error, "status_code", None)
    code, param = getattr(error, "code", None), getattr(error, "param", None)
    return Failure(
        type(error).__name__,
        status if isinstance(status, int) else 0,
        getattr(error, "message", None) or str(error),
        {str(name).lower(): str(value) for name, value in dict(headers).items()},
        code if isinstance(code, str) and code and code != str(status) else None,
        param if isinstance(param, str) and param else None,
    )


def _with_context(litellm: ModuleType, deployment: Deployment) -> Deployment:
    """The deployment with the context length that LiteLLM's table has for a hosted model."""
    if deployment.context_length:
        return deployment
    try:
        known = litellm.get_model_info(deployment.model).get("max_input_tokens")
    except Exception:  # LiteLLM raises a bare Exception for models that it does not know
        return deployment
    return replace(deployment, context_length=known or 0)


def _refuse_unknown(litellm: ModuleType, deployments: Sequence[Deployment]) -> None:
    """Raises SettingsError for a model that LiteLLM does not know how to ask."""
    for one in deployments:
        try:
            litellm.get_llm_provider(one.model)
        except litellm.exceptions.BadRequestError:
            raise SettingsError(
                f"upstream: {one.model!r} is neither a base_url (http://host:port/v1) nor a model that "
                "LiteLLM knows (provider/model)"
            ) from None
