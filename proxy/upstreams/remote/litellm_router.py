"""Asks LiteLLM's Router which server is next, and tells it how each one did.

Nothing of LiteLLM is loaded here; what this file relies on in the Router is tested against real servers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from proxy.conversation.errors import BadRequest, RequestError
from proxy.conversation.request import ChatRequest
from proxy.upstreams.remote.assembly import Assembly
from proxy.upstreams.remote.deployments import NO_KEY, Deployment, Group
from proxy.upstreams.remote.mapping import completion_params, raw_params
from proxy.upstreams.remote.servers import ServerStream, ask_server
from proxy.upstreams.remote.unsent import Sent, without_fields


class Visit:
    """One request to one deployment. close() it once, however it ended."""

    def __init__(self, router: Any, group: Group, place: Deployment) -> None:
        self.place = place
        self._router = router
        self._group = group
        self._began = time.monotonic()
        self._first: float | None = None
        # as LiteLLM describes a call to its callbacks
        self._call = {
            "stream": True,
            "litellm_params": {
                "metadata": {"model_group": group.card.id},
                "model_info": {"id": place.router_id},
            },
        }
        if router.leastbusy_logger is not None:
            router.leastbusy_logger.log_pre_api_call(group.card.id, None, self._call)

    def heard(self) -> None:
        """Something has come from the deployment."""
        if self._first is None:
            self._first = time.monotonic()

    def failed(self, error: RequestError) -> None:
        """Leaves the deployment out for a while, if there are others. A bad request says nothing about the
        server that refuses it.
        """
        alone = self._group.size == 1 or self._group.replicas
        if not alone and not isinstance(error, BadRequest):
            self._router.cooldown_cache.add_deployment_to_cooldown(self.place.router_id, error, 0, None)

    async def close(self, tokens: int | None) -> None:
        """Ends the visit. tokens: of an answer that was read to its end; None for any other."""
        if self._router.leastbusy_logger is not None:
            self._router.leastbusy_logger.log_success_event(self._call, None, 0, 0)
        latency = self._router.lowestlatency_logger
        if latency is not None and tokens is not None and self._first is not None:
            # the Router compares seconds per token, and takes them from the difference of these times
            end = self._began + (time.monotonic() - self._began) / max(1, tokens)
            call = {**self._call, "completion_start_time": self._first}
            await latency.async_log_success_event(call, None, self._began, end)


class ServerSource:
    """A server's answer to one request. Made by Routes.pick()."""

    def __init__(self, session: aiohttp.ClientSession, visit: Visit) -> None:
        self._session = session
        self._visit = visit
        self._stream: ServerStream | None = None
        self.sent = Sent()

    @property
    def place(self) -> str:
        return self._visit.place.router_id

    async def open(self, request: ChatRequest, unsent: frozenset[str]) -> None:
        """Asks the server. Raises ServerFailed, aiohttp.ClientError."""
        place = self._visit.place
        assert place.target.base_url is not None
        if request.raw is None:
            params, path = completion_params(request, open_server=True), "chat/completions"
        else:
            params, path = raw_params(request, request.raw), "completions"
        self.sent = without_fields(params, unsent)
        self._stream = await ask_server(
            self._session,
            place.target.base_url,
            place.secret or NO_KEY,
            place.model.removeprefix("openai/"),
            self.sent.params,
            path,
        )

    async def next(self) -> Any | None:
        """The next chunk; None at the end. Raises ServerFailed, aiohttp.ClientError."""
        assert self._stream is not None
        chunk = await self._stream.next()
        self._visit.heard()
        return chunk

    def finished(self, assembly: Assembly) -> bool:
        return assembly.finished

    def failed(self, error: RequestError) -> None:
        self._visit.failed(error)

    async def aclose(self, tokens: int | None) -> None:
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                await stream.aclose()
        finally:
            await self._visit.close(tokens)


class Routes:
    """Picks servers through the Router. deployments: all of the Router's model_list."""

    def __init__(
        self, router: Any, session: aiohttp.ClientSession, deployments: Sequence[Deployment]
    ) -> None:
        self._router = router
        self._session = session
        self._places = {one.router_id: one for one in deployments}

    async def pick(self, aim: str, group: Group) -> ServerSource:
        """The source of an answer. aim: a name, or one server's id. Raises what LiteLLM raises where none is
        left.
        """
        picked = await self._router.async_get_available_deployment(
            model=aim, messages=[], request_kwargs={"stream": True}
        )
        return ServerSource(
            self._session, Visit(self._router, group, self._places[picked["model_info"]["id"]])
        )
