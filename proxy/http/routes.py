"""The HTTP routes: each checks the API key, reads and decodes the body, asks the guard, encodes the answer.

The paths of a dialect, and everything that it says on them, come from its codec.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from proxy.codecs.base import Codec, CodecRoute, Decoded, Kept, Operation, TokenForm
from proxy.codecs.verdict import session_headers, verdict_headers
from proxy.conversation.errors import ModelNotFound, RequestError
from proxy.conversation.events import total
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.conversation.session_id import from_headers, identify
from proxy.guard.caller import read_caller
from proxy.guard.choices import open_delivery
from proxy.guard.deadline import Deadline, read_timeout
from proxy.guard.guard import Guard
from proxy.http.front import front
from proxy.http.health import HealthCheck
from proxy.http.incoming import Bodies, BodyLimits
from proxy.http.index import index
from proxy.http.keys import authorise
from proxy.http.ledger import list_requests, show_request
from proxy.http.openapi import EVENTS, describe_own, describe_route, document
from proxy.http.page.feed import Feed
from proxy.http.page_stream import page_events
from proxy.http.replies import JSONResponse, error_response, request_id_of
from proxy.http.sessions import drop_session, list_sessions, pin_session, warm_one
from proxy.http.sse import ClientGone, EventStream, defects_reported, run_while_connected
from proxy.http.tokens import tokenize, tokenizer_of
from proxy.records.ledger import Ledger
from proxy.records.metrics import CONTENT_TYPE, Metrics
from proxy.records.session_stats import SessionStats
from proxy.upstreams.base import Upstream
from proxy.upstreams.capabilities import Capabilities

_DEFAULT_MODEL = "default"
_LATEST = ":latest"
# nginx's number for "the client closed the connection"; only the log sees it.
_CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one app.

    max_body_bytes: longer bodies are refused.
    body_silence_s, body_total_s: how long nothing of a body may come, and how long all of it may take.
    keep_alive_s: the longest silence of a stream.
    request_timeout_s: how long any request may take; None sets no limit.
    """

    max_body_bytes: int = 64 * 1024 * 1024
    body_silence_s: float = 60.0
    body_total_s: float = 900.0
    keep_alive_s: float = 10.0
    request_timeout_s: float | None = None

    @property
    def body(self) -> BodyLimits:
        return BodyLimits(self.max_body_bytes, self.body_silence_s, self.body_total_s)


@dataclass(frozen=True, slots=True)
class State:
    """What the routes of one app share. api_keys: none let everyone in. feed: of the page."""

    upstream: Upstream
    guard: Guard
    health: HealthCheck
    limits: Limits
    bodies: Bodies
    api_keys: Sequence[str]
    metrics: Metrics
    session_stats: SessionStats
    feed: Feed
    ledger: Ledger | None = None

    @property
    def can(self) -> Capabilities:
        return self.upstream.capabilities


def build_routes(state: State, codecs: Sequence[Codec]) -> list[Route]:
    """The routes of each codec, and our own, which answer and fail as the first codec encodes it. Where
    codecs share a path, the one that claims a request has it, else the first of them.

    They are Starlette's: bodies are decoded by the codec, so nothing of what FastAPI adds to a route is used.
    """
    served: dict[tuple[str, str], list[_Served]] = {}
    for codec in codecs:
        for route in codec.routes:
            served.setdefault((route.path, route.method), []).append((codec, _endpoint(state, codec, route)))
    for path, method, endpoint in _own_routes(state, codecs):
        served[path, method] = [(codecs[0], endpoint)]
    return [_route(path, method, dialects) for (path, method), dialects in served.items()]


Endpoint = Callable[[Request], Awaitable[Response]]
_Served = tuple[Codec, Endpoint]


def _endpoint(state: State, codec: Codec, route: CodecRoute) -> Endpoint:
    if route.kept is not None:
        return _kept(state, route.kept)
    if route.form is not None:
        return _tokens(state, route.form, route.operation)
    return _ENDPOINTS[route.operation](state, codec)


def _own_routes(state: State, codecs: Sequence[Codec]) -> Iterator[tuple[str, str, Endpoint]]:
    """The routes that are no dialect's. The first codec decodes the prompts that are to be warmed."""
    yield EVENTS, "GET", page_events(state.api_keys, state.feed)
    yield "/v1/fortieth/requests", "GET", _requests(state)
    yield "/v1/fortieth/requests/{id:path}", "GET", _request(state)
    yield "/v1/fortieth/sessions", "GET", _sessions(state)
    yield "/v1/fortieth/warm", "POST", _warm(state, codecs[0])
    yield "/v1/fortieth/sessions/{id:path}/pin", "POST", _pin(state, True)
    yield "/v1/fortieth/sessions/{id:path}/unpin", "POST", _pin(state, False)
    yield "/v1/fortieth/sessions/{id:path}", "DELETE", _drop(state)
    yield "/", "GET", front(keyed=bool(state.api_keys))
    yield "/v1", "GET", _index(state, codecs)
    yield "/health", "GET", _health(state)
    yield "/metrics", "GET", _metrics(state)
    yield "/openapi.json", "GET", _openapi(state, codecs)


def _route(path: str, method: str, dialects: Sequence[_Served]) -> Route:
    """dialects: the codecs and their handlers, one of which answers a request and encodes its errors."""

    async def route(request: Request) -> Response:
        claimed = (one for one in dialects if one[0].claims(request.headers))
        codec, endpoint = next(claimed, dialects[0])
        try:
            with defects_reported():
                return await endpoint(request)
        except RequestError as error:
            return error_response(codec, error, request)
        except (ClientGone, ClientDisconnect):
            return Response(status_code=_CLIENT_GONE)

    return Route(path, route, methods=[method])  # GET brings HEAD with it


def _answer(state: State, codec: Codec) -> Endpoint:
    async def answer(request: Request) -> Response:
        authorise(state.api_keys, request)
        named = from_headers(request.headers)
        if state.can.sessions is not None and named.id:
            state.can.sessions.prefetch_session(named.id)  # fetched while the body is on its way
        asked = await _decode(state, codec, request, state.ledger)
        try:
            return await _ask(state, codec, request, asked)
        except RequestError as error:
            return error_response(codec, error, request, asked)

    return answer


async def _ask(state: State, codec: Codec, request: Request, asked: Decoded) -> Response:
    """Asks the guard for an answer. Once the delivery is open, it is closed by the stream when that ends, or
    here.
    """
    card = _find(state.upstream, asked.request.model)
    wanted = asked.request
    if wanted.model != card.id:  # looked up once: what follows relies on it
        wanted = replace(wanted, model=card.id)
    deadline = Deadline.of(state.limits.request_timeout_s, wanted.timeout_s, read_timeout(request.headers))
    caller = read_caller(request.headers, deadline.at, codec.call_id)
    head = codec.head(card, request_id_of(request))
    if not wanted.n:
        return JSONResponse(codec.encode_answers(head, asked, ()), headers=head.headers)
    encoder = codec.encode_stream(head, asked) if wanted.stream else None
    opening = open_delivery(lambda one: state.guard.open(one, caller), wanted, deadline)
    delivery = await run_while_connected(request.receive, opening, drop=lambda late: late.aclose())
    if encoder is not None:
        told = {**head.headers, **session_headers(delivery.session)}
        return EventStream(delivery, encoder, state.limits.keep_alive_s, told)
    try:
        answers = await run_while_connected(request.receive, delivery.answers())
    finally:
        await delivery.aclose()
    finish = total([answer.finish for answer in answers])
    headers = {**head.headers, **verdict_headers(finish)}
    return JSONResponse(codec.encode_answers(head, asked, answers), headers=headers)


async def _decode(state: State, codec: Codec, request: Request, keeper: Ledger | None = None) -> Decoded:
    """keeper: keeps the body, where its settings say so."""
    asked, body = await state.bodies.decode(request, codec.decode)
    kept_as = keeper.keep(request.url.path, body) if keeper is not None else ""
    return replace(asked, request=replace(asked.request, body_bytes=len(body), kept_as=kept_as))


def _count(state: State, codec: Codec) -> Endpoint:
    async def count(request: Request) -> Response:
        authorise(state.api_keys, request)
        asked = await _decode(state, codec, request)
        try:
            counting = _count_tokens(state, request, asked.request)
            return JSONResponse(codec.encode_count(await run_while_connected(request.receive, counting)))
        except RequestError as error:
            return error_response(codec, error, request, asked)

    return count


async def _count_tokens(state: State, request: Request, asked: ChatRequest) -> int:
    """The tokens of the prompt that would be written for this request now. Raises NotFound where the upstream
    cannot tell them.
    """
    card = _find(state.upstream, asked.model)
    session = identify(asked, from_headers(request.headers))
    return len(await tokenizer_of(state.can, card).tokenize(replace(asked, model=card.id, session=session)))


def _tokens(state: State, form: TokenForm, operation: Operation) -> Endpoint:
    def find(name: str) -> ModelCard:
        return _find(state.upstream, name)

    async def tokens(request: Request) -> Response:
        authorise(state.api_keys, request)
        if operation is Operation.tokenize:
            asked, body = await state.bodies.decode(request, form.decode_prompt)
            wanted = replace(asked.request, body_bytes=len(body))
            told = await tokenize(form, replace(asked, request=wanted), state.can, find)
        else:
            (name, ids), _ = await state.bodies.decode(request, form.decode_tokens)
            told = form.encode_text(await tokenizer_of(state.can, find(name)).detokenize(ids))
        return JSONResponse(told)

    return tokens


def _models(state: State, codec: Codec) -> Endpoint:
    async def models(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(codec.encode_models(state.upstream.models))

    return models


def _model(state: State, codec: Codec) -> Endpoint:
    async def model(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(codec.encode_model(_find(state.upstream, request.path_params["model_id"])))

    return model


def _named_model(state: State, codec: Codec) -> Endpoint:
    async def model(request: Request) -> Response:
        authorise(state.api_keys, request)
        asked = await _decode(state, codec, request)
        return JSONResponse(codec.encode_model(_find(state.upstream, asked.request.model)))

    return model


def _kept(state: State, answer: Kept) -> Endpoint:
    async def kept(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(answer(request.path_params))

    return kept


_ENDPOINTS: dict[Operation, Callable[[State, Codec], Endpoint]] = {
    Operation.answer: _answer,
    Operation.count_tokens: _count,
    Operation.models: _models,
    Operation.model: _model,
    Operation.named_model: _named_model,
}


def _requests(state: State) -> Endpoint:
    async def requests(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(await list_requests(state.ledger, request.query_params))

    return requests


def _request(state: State) -> Endpoint:
    async def one(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(await show_request(state.ledger, request.path_params["id"]))

    return one


def _warm(state: State, codec: Codec) -> Endpoint:
    async def warm(request: Request) -> Response:
        authorise(state.api_keys, request)
        asked = await _decode(state, codec, request)
        return JSONResponse(await warm_one(state.can.prefiller, asked.request))

    return warm


def _sessions(state: State) -> Endpoint:
    async def sessions(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(await list_sessions(state.session_stats, state.can.sessions))

    return sessions


def _pin(state: State, pinned: bool) -> Endpoint:
    async def pin(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(await pin_session(state.can.sessions, request.path_params["id"], pinned))

    return pin


def _drop(state: State) -> Endpoint:
    async def drop(request: Request) -> Response:
        authorise(state.api_keys, request)
        return JSONResponse(
            await drop_session(state.session_stats, state.can.sessions, request.path_params["id"])
        )

    return drop


def _index(state: State, codecs: Sequence[Codec]) -> Endpoint:
    async def told(request: Request) -> Response:
        authorise(state.api_keys, request)
        routes = [(route.path, route.method) for codec in codecs for route in codec.routes]
        routes += [(path, method) for path, method, _ in _own_routes(state, codecs)]
        return JSONResponse(index(request.headers.get("host", ""), state.upstream.models, routes))

    return told


def _health(state: State) -> Endpoint:
    async def health(request: Request) -> Response:
        found = await state.health.ask()
        if not found.ok:
            body = {"status": "unavailable", "reason": found.reason}
            return JSONResponse(body, status_code=503, headers={"retry-after": "1"})
        known = {"status": "ok", "models": [card.id for card in state.upstream.models]}
        engine = {} if state.can.stats is None else {"engine": state.can.stats().state}
        return JSONResponse(known | engine)

    return health


def _metrics(state: State) -> Endpoint:
    async def metrics(request: Request) -> Response:
        return Response(state.metrics.render(), media_type=CONTENT_TYPE)

    return metrics


def _openapi(state: State, codecs: Sequence[Codec]) -> Endpoint:
    async def openapi(request: Request) -> Response:
        authorise(state.api_keys, request)
        described = [
            *(describe_route(codec, route) for codec in codecs for route in codec.routes),
            *(describe_own(codecs[0], method, path) for path, method, _ in _own_routes(state, codecs)),
        ]
        return JSONResponse(document(described, state.upstream.models, bool(state.api_keys)))

    return openapi


def _find(upstream: Upstream, name: str) -> ModelCard:
    """The served model of this name; the first one for "default" and for none. A tag that says "the latest"
    says nothing more, and stands in some lists and requests only. Raises ModelNotFound.
    """
    cards = upstream.models
    if name.removesuffix(_LATEST) in ("", _DEFAULT_MODEL):
        return cards[0]
    for wanted in (name, name.removesuffix(_LATEST), name + _LATEST):
        for card in cards:
            if card.id == wanted:
                return card
    served = ", ".join(card.id for card in cards)
    raise ModelNotFound(f"The model `{name}` does not exist; served here: {served}", param="model")
