"""The HTTP routes. What they share is in State; each one decodes, asks and encodes, and decides nothing."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from engine.types import EngineStats
from proxy.codecs.base import Codec, Head
from proxy.codecs.openai_chat import OpenAIChat
from proxy.codecs.verdict import verdict_headers
from proxy.conversation.errors import BodyTooLarge, ModelNotFound, Unauthorized
from proxy.conversation.events import total
from proxy.conversation.request import ChatRequest
from proxy.conversation.session_id import from_headers
from proxy.guard.caller import read_caller
from proxy.guard.choices import Deadline, Delivery, open_delivery, read_timeout
from proxy.guard.guard import Guard
from proxy.http.health import HealthCheck
from proxy.http.ledger import list_requests, show_request
from proxy.http.sessions import SessionKeeper, drop_session, list_sessions, pin_session, warm_one
from proxy.http.sse import ClientGone, EventStream, defects_reported, run_while_connected
from proxy.prompts.think_time import Prefiller
from proxy.records.ledger import Ledger
from proxy.records.metrics import CONTENT_TYPE, Metrics
from proxy.records.session_stats import SessionStats
from proxy.upstreams.base import ModelCard, Upstream

_DEFAULT_MODEL = "default"
# nginx's number for "the client closed the connection"; only the log sees it.
_CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Limits:
    """max_body_bytes: longer bodies are refused. keep_alive_s: longest silence of a stream.
    request_timeout_s: how long any request may take; None sets no limit.
    """

    max_body_bytes: int = 64 * 1024 * 1024
    keep_alive_s: float = 10.0
    request_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the routes of one app share. api_key: None lets everyone in."""

    upstream: Upstream
    guard: Guard
    health: HealthCheck
    limits: Limits
    api_key: str | None
    metrics: Metrics
    roster: SessionStats
    keeper: SessionKeeper | None
    ledger: Ledger | None = None
    foresight: Prefiller | None = None
    stats: Callable[[], EngineStats] | None = None


class JSONResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else msgspec.json.encode(content)


def build_router(state: State) -> APIRouter:
    """Every route once under /v1, as the OpenAI API has it, and once bare, as some base_urls leave it out."""
    router = APIRouter()
    for prefix in ("/v1", ""):
        _route(router, prefix + "/chat/completions", "POST", _chat(state, OpenAIChat()))
        _route(router, prefix + "/models", "GET", _models(state))
        _route(router, prefix + "/models/{model_id:path}", "GET", _model(state))
    _route(router, "/v1/fortieth/requests", "GET", _requests(state))
    _route(router, "/v1/fortieth/requests/{id:path}", "GET", _request(state))
    _route(router, "/v1/fortieth/sessions", "GET", _sessions(state))
    _route(router, "/v1/fortieth/warm", "POST", _warm(state, OpenAIChat()))
    _route(router, "/v1/fortieth/sessions/{id:path}/pin", "POST", _pin(state, True))
    _route(router, "/v1/fortieth/sessions/{id:path}/unpin", "POST", _pin(state, False))
    _route(router, "/v1/fortieth/sessions/{id:path}", "DELETE", _drop(state))
    _route(router, "/health", "GET", _health(state))
    _route(router, "/metrics", "GET", _metrics(state))
    return router


Endpoint = Callable[[Request], Awaitable[Response]]


def _route(router: APIRouter, path: str, method: str, endpoint: Endpoint) -> None:
    async def route(request: Request) -> Response:
        with defects_reported():
            return await endpoint(request)

    methods = ["GET", "HEAD"] if method == "GET" else [method]
    router.add_api_route(path, route, methods=methods, response_model=None)


def _chat(state: State, codec: Codec) -> Endpoint:
    async def chat(request: Request) -> Response:
        _authorise(state, request)
        named = from_headers(request.headers)
        if state.keeper is not None and named.id:
            state.keeper.prefetch_session(named.id)  # while the body is on its way
        try:
            body = await _read_body(request, state.limits.max_body_bytes)
            asked = codec.decode(body)
            card = _find(state.upstream, asked.model)
            deadline = Deadline.of(
                state.limits.request_timeout_s, asked.timeout_s, read_timeout(request.headers)
            )
            caller = read_caller(request.headers, deadline.at)
            delivery = await run_while_connected(
                request.receive,
                open_delivery(lambda one: state.guard.open(one, caller), asked, deadline),
            )
            head = Head(f"chatcmpl-{secrets.token_hex(14)}", card.id, int(time.time()), card.fingerprint)
            return await _answer(state, codec, request, asked, delivery, head)
        except (ClientGone, ClientDisconnect):
            return Response(status_code=_CLIENT_GONE)

    return chat


async def _answer(
    state: State, codec: Codec, request: Request, asked: ChatRequest, delivery: Delivery, head: Head
) -> Response:
    """From here on someone closes the exchanges: the stream when it ends, or we do."""
    if asked.stream:
        return EventStream(delivery, codec.encode_stream(head, asked), state.limits.keep_alive_s)
    try:
        answers = await run_while_connected(request.receive, delivery.answers())
    finally:
        await delivery.aclose()
    finish = total([answer.finish for answer in answers])
    return JSONResponse(codec.encode_answers(head, asked, answers), headers=verdict_headers(finish))


def _models(state: State) -> Endpoint:
    async def models(request: Request) -> Response:
        _authorise(state, request)
        cards = [_card_object(card) for card in state.upstream.models]
        return JSONResponse({"object": "list", "data": cards})

    return models


def _model(state: State) -> Endpoint:
    async def model(request: Request) -> Response:
        _authorise(state, request)
        return JSONResponse(_card_object(_find(state.upstream, request.path_params["model_id"])))

    return model


def _requests(state: State) -> Endpoint:
    async def requests(request: Request) -> Response:
        _authorise(state, request)
        return JSONResponse(await list_requests(state.ledger, request.query_params))

    return requests


def _request(state: State) -> Endpoint:
    async def one(request: Request) -> Response:
        _authorise(state, request)
        return JSONResponse(await show_request(state.ledger, request.path_params["id"]))

    return one


def _warm(state: State, codec: Codec) -> Endpoint:
    async def warm(request: Request) -> Response:
        _authorise(state, request)
        body = await _read_body(request, state.limits.max_body_bytes)
        return JSONResponse(await warm_one(state.foresight, codec.decode(body)))

    return warm


def _sessions(state: State) -> Endpoint:
    async def sessions(request: Request) -> Response:
        _authorise(state, request)
        return JSONResponse(await list_sessions(state.roster, state.keeper))

    return sessions


def _pin(state: State, pinned: bool) -> Endpoint:
    async def pin(request: Request) -> Response:
        _authorise(state, request)
        return JSONResponse(await pin_session(state.keeper, request.path_params["id"], pinned))

    return pin


def _drop(state: State) -> Endpoint:
    async def drop(request: Request) -> Response:
        _authorise(state, request)
        return JSONResponse(await drop_session(state.roster, state.keeper, request.path_params["id"]))

    return drop


def _health(state: State) -> Endpoint:
    async def health(request: Request) -> Response:
        found = await state.health.ask()
        if not found.ok:
            body = {"status": "unavailable", "reason": found.reason}
            return JSONResponse(body, status_code=503, headers={"retry-after": "1"})
        known = {"status": "ok", "models": [card.id for card in state.upstream.models]}
        engine = {} if state.stats is None else {"engine": state.stats().state}
        return JSONResponse(known | engine)

    return health


def _metrics(state: State) -> Endpoint:
    async def metrics(request: Request) -> Response:
        return Response(state.metrics.render(), media_type=CONTENT_TYPE)

    return metrics


def _card_object(card: ModelCard) -> dict[str, Any]:
    """OpenAI's model object, with the context length under the name that agents look for."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "fortieth",
        "max_model_len": card.context_length,
    }


def _find(upstream: Upstream, name: str) -> ModelCard:
    """The served model of this name; the first one for "default" and for none. Raises ModelNotFound."""
    cards = upstream.models
    if name in ("", _DEFAULT_MODEL):
        return cards[0]
    for card in cards:
        if card.id == name:
            return card
    served = ", ".join(card.id for card in cards)
    raise ModelNotFound(f"The model `{name}` does not exist; served here: {served}", param="model")


def _authorise(state: State, request: Request) -> None:
    """Takes the key as `Authorization: Bearer` or as `x-api-key`. Raises Unauthorized."""
    if state.api_key is None:
        return
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    # headers are read as Latin-1: this gives back the bytes that were sent
    if not hmac.compare_digest(given.encode("latin-1"), state.api_key.encode()):
        raise Unauthorized("no valid API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")


async def _read_body(request: Request, limit: int) -> bytes:
    """Raises BodyTooLarge, but reads on for a while first: clients only listen once they have sent all."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > 4 * limit:
            break
    if size > limit:
        raise BodyTooLarge(f"the body must have at most {limit} bytes, got {size} or more")
    return b"".join(parts)
