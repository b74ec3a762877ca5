"""The ASGI application: routes, error replies, request ids, and one log line per request."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.codecs.base import Codec
from proxy.codecs.registry import CODECS
from proxy.conversation.errors import RequestError, error_for_status
from proxy.guard.drift_metrics import DriftCollector
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.http.cross_origin import CrossOrigin
from proxy.http.health import HealthCheck
from proxy.http.incoming import Bodies
from proxy.http.logs import REQUEST_ID
from proxy.http.page.feed import Feed
from proxy.http.page.figures import PageSources
from proxy.http.paths import normal_path, not_found
from proxy.http.replies import error_response
from proxy.http.routes import Limits, State, build_routes
from proxy.records.ledger import Ledger
from proxy.records.metrics import Metrics
from proxy.records.record_log import RecordLog
from proxy.records.request_record import Sink
from proxy.records.session_stats import SessionStats
from proxy.upstreams.base import Upstream

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def create_app(
    upstream: Upstream,
    *,
    policy: GuardPolicy | None = None,
    sinks: Sequence[Sink] = (),
    api_keys: Sequence[str] = (),
    limits: Limits | None = None,
    ledger: Ledger | None = None,
    cors: Sequence[str] = (),
    near: bool = False,
    codecs: Sequence[Codec] = CODECS,
    redact: bool = False,
) -> FastAPI:
    """The app over a started upstream, which the caller closes, and the feed of its page, `app.state.feed`,
    which the caller closes before it waits for connections to end.

    sinks: get the record of each request, as does the ledger.
    api_keys: one of them is asked of each request; none let everyone in.
    ledger: can also be read over HTTP.
    cors: origins whose web pages may use the API.
    near: only programs of this machine can reach the server.
    codecs: the dialects. The first one encodes the errors of requests that none of them claims.
    redact: the page leaves out what models and clients wrote.
    """
    kept = (ledger,) if ledger else ()
    metrics = Metrics(upstream.capabilities.stats)
    session_stats = SessionStats()
    told = (metrics, session_stats, RecordLog(), *kept, *sinks)
    guard = Guard(metrics.watch(upstream), policy or GuardPolicy(), told)
    metrics.show(DriftCollector(guard.drift))
    health = HealthCheck(upstream)
    limits = limits or Limits()
    feed = Feed(PageSources(guard, metrics.timings.pace, session_stats, ledger is not None, redact))
    bodies, keys = Bodies(limits.body), tuple(api_keys)
    state = State(upstream, guard, health, limits, bodies, keys, metrics, session_stats, feed, ledger)
    app = FastAPI(
        title="fortieth",
        routes=[*build_routes(state, codecs)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.feed = feed
    app.add_exception_handler(HTTPException, _in_words_of(codecs))
    app.add_middleware(CrossOrigin, allowed=cors, near=near and not keys, refuse=_refusal(codecs))
    app.add_middleware(RequestLog, answered=metrics.answered)
    return app


def _refusal(codecs: Sequence[Codec]) -> Callable[[Request, RequestError], Response]:
    return lambda request, error: error_response(_codec_of(codecs, request), error, request)


def _in_words_of(codecs: Sequence[Codec]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Replies to what the web framework refuses: unknown routes, and methods that a route does not have."""

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        method, path, status = request.method, request.scope["path"], error.status_code
        message = not_found(method, path) if status == 404 else f"{method} {path}: {error.detail}"
        response = error_response(_codec_of(codecs, request), error_for_status(status, message), request)
        if status == 405:
            response.headers["allow"] = ", ".join(sorted(_methods_of(request)))
        return response

    return on_http_error


def _codec_of(codecs: Sequence[Codec], request: Request) -> Codec:
    """The dialect that claims a request, else the first one."""
    return next((one for one in codecs if one.claims(request.headers)), codecs[0])


def _methods_of(request: Request) -> set[str]:
    """All methods that the request's path is served for."""
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


class RequestLog:
    """Gives each request and its response an x-request-id, which every log line about the request shows.

    The id is the client's own, if it sent one. Each request is logged and counted. The path is normalised, so
    that it is logged as it is routed.
    """

    def __init__(self, app: ASGIApp, answered: Callable[[int], None]) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = normal_path(scope["path"])
        request_id = _request_id(scope)
        others = [header for header in scope["headers"] if header[0] != b"x-request-id"]
        scope = {**scope, "path": path, "headers": [*others, (b"x-request-id", request_id)]}
        REQUEST_ID.set(request_id.decode("ascii"))
        started = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            took_ms = (time.monotonic() - started) * 1000
            self._answered(status)
            _log.info("%s %s %d %.0f ms", scope["method"], path, status, took_ms)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return b"req_" + secrets.token_hex(12).encode()
