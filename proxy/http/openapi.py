"""The OpenAPI document of all routes (https://spec.openapis.org/oas/v3.1.0).

It is made from the routes of the codecs: which errors an operation can end in is said here, and with which
status each error leaves is asked of the codec itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from proxy import __version__
from proxy.codecs.base import Codec, CodecRoute, Operation
from proxy.conversation.errors import (
    BadRequest,
    BadTool,
    BodyTooLarge,
    BodyTooSlow,
    CallFailed,
    ContextTooLong,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    Overloaded,
    PaymentRequired,
    RateLimited,
    RequestError,
    RequestTimeout,
    Unauthorized,
    UnsupportedEncoding,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.conversation.model_card import ModelCard

JSON = "application/json"
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")

_ALWAYS = (Unauthorized(""), InternalError(""))
_BODY = (
    BadRequest(""),
    BadTool("", ""),
    BodyTooLarge(""),
    BodyTooSlow(""),
    UnsupportedEncoding("", ()),
)
_MODEL = (ModelNotFound(""),)
# a slash at the end of a parameter is dropped with those of the path, so that another route is meant
_KEPT = (BadRequest(""), NotFound(""), MethodNotAllowed(""))
_UPSTREAM = (
    ContextTooLong(0, 0),
    PaymentRequired(""),
    Forbidden(""),
    NotFound(""),
    Overloaded(""),
    RateLimited(""),
    UpstreamUnavailable(""),
    RequestTimeout(0),
    UpstreamTimeout(""),
    CallFailed((), 1),
)
ERRORS: Mapping[Operation, tuple[RequestError, ...]] = {
    Operation.answer: (*_BODY, *_MODEL, *_UPSTREAM),
    Operation.count_tokens: (*_BODY, *_MODEL, *_UPSTREAM),
    Operation.tokenize: (*_BODY, *_MODEL, *_UPSTREAM),
    Operation.detokenize: (*_BODY, *_MODEL, *_UPSTREAM),
    Operation.models: (),
    Operation.model: _MODEL,
    Operation.named_model: (*_BODY, *_MODEL),
    Operation.kept: _KEPT,
}
_SUMMARIES = {
    Operation.answer: "One turn, streamed or whole",
    Operation.count_tokens: "How many tokens the prompt of a request has",
    Operation.tokenize: "The tokens of a prompt",
    Operation.detokenize: "The text of tokens",
    Operation.models: "What is served",
    Operation.model: "One served model",
    Operation.named_model: "One served model, named in the body",
    Operation.kept: "",
}
_READS_BODY = frozenset(_SUMMARIES) - {Operation.models, Operation.model, Operation.kept}


@dataclass(frozen=True, slots=True)
class Described:
    """One method of one route. path: with parameters as `{name}`. body: JSON Schema, None where none is read.
    media: types of the body of a 200. query: the type of each parameter of the query, by name. errors: status
    codes. open: needs no key.
    """

    method: str
    path: str
    errors: frozenset[int]
    summary: str = ""
    body: Mapping[str, Any] | None = None
    media: tuple[str, ...] = (JSON,)
    query: Mapping[str, str] = field(default_factory=dict)
    open: bool = False


def describe_route(codec: Codec, route: CodecRoute) -> Described:
    streams = (route.stream_type,) if route.operation is Operation.answer else ()
    return Described(
        route.method,
        route.path,
        statuses(codec, ERRORS[route.operation]),
        _SUMMARIES[route.operation],
        route.schema if route.operation in _READS_BODY else None,
        (JSON, *streams),
    )


def describe_own(codec: Codec, method: str, path: str) -> Described:
    """A route of our own. codec: encodes its errors. Without a row below it is described as any other."""
    summary, query = _OWN.get((method, path), ("", {}))
    if path in _OPEN:
        failing = statuses(codec, (UpstreamUnavailable(""), InternalError("")))
        media = _OPEN[path]
        return Described(method, path, failing, summary, media=media, open=True)
    if path == EVENTS:
        failing = statuses(codec, (Overloaded(""),))
        return Described(method, path, failing, summary, media=("text/event-stream",))
    errors = (*_KEPT, *_BODY, *_MODEL, *_UPSTREAM) if path == _WARM else (*_KEPT, UpstreamUnavailable(""))
    return Described(method, path, statuses(codec, errors), summary, _body_of_warm(codec, path), query=query)


EVENTS = "/v1/fortieth/events"
_TEXT = "text/plain"
_OPEN = {"/": (_TEXT, "text/html"), "/health": (JSON,), "/metrics": (_TEXT,)}
_WARM = "/v1/fortieth/warm"
_OWN: Mapping[tuple[str, str], tuple[str, Mapping[str, str]]] = {
    ("GET", "/v1/fortieth/requests"): (
        "Entries of the ledger",
        {
            "limit": "integer",
            "after": "integer",
            "before": "integer",
            "model": "string",
            "session": "string",
            "verdict": "string",
        },
    ),
    ("GET", "/v1/fortieth/requests/{id:path}"): ("One entry of the ledger", {}),
    ("GET", "/v1/fortieth/sessions"): ("The sessions of agents", {}),
    ("POST", _WARM): ("Computes the beginning of a prompt", {}),
    ("POST", "/v1/fortieth/sessions/{id:path}/pin"): ("Keeps a session in memory", {}),
    ("POST", "/v1/fortieth/sessions/{id:path}/unpin"): ("Lets go of a pinned session", {}),
    ("DELETE", "/v1/fortieth/sessions/{id:path}"): ("Forgets a session", {}),
    ("GET", EVENTS): ("What happens, as the page shows it; the stream does not end", {}),
    ("GET", "/"): ("The page for a browser, else whether a server is here", {}),
    ("GET", "/v1"): ("What is served, and under which addresses", {}),
    ("GET", "/health"): ("Whether the model answers", {}),
    ("GET", "/metrics"): ("Figures for Prometheus", {}),
    ("GET", "/openapi.json"): ("This document", {}),
}


def _body_of_warm(codec: Codec, path: str) -> Mapping[str, Any] | None:
    """The prompts to be warmed are read as the codec's own requests are."""
    if path != _WARM:
        return None
    return next(route.schema for route in codec.routes if route.operation is Operation.answer)


def statuses(codec: Codec, errors: Iterable[RequestError]) -> frozenset[int]:
    """With which these errors, and those that any request can end in, leave in a dialect."""
    return frozenset(codec.encode_error(error, None, "").status for error in (*_ALWAYS, *errors))


def document(described: Sequence[Described], cards: Sequence[ModelCard], keyed: bool) -> dict[str, Any]:
    """The document. Where dialects share a route, everything that one of them takes or answers is in it.
    keyed: the server has an API key.
    """
    paths: dict[str, dict[str, Any]] = {}
    for one in described:
        path = _PARAMETER.sub(r"{\1}", one.path)
        item = paths.setdefault(path, _parameters(one.path))
        for method in ("get", "head") if one.method == "GET" else (one.method.lower(),):
            operation = _operation(one, method, path)
            item[method] = _both(item[method], operation) if method in item else operation
    any_name = {"type": ["string", "null"]}
    components: dict[str, Any] = {
        "schemas": {"Model": {"anyOf": [{"enum": ["default", *(card.id for card in cards)]}, any_name]}}
    }
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "fortieth", "version": __version__},
        "paths": paths,
        "components": components,
    }
    if keyed:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        told["security"] = [{"bearer": []}, {"key": []}]
    return told


def _parameters(path: str) -> dict[str, Any]:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(path)
    ]
    return {"parameters": named} if named else {}


def _operation(one: Described, method: str, path: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_"),
        "responses": {
            "200": {"description": "OK", "content": {media: {} for media in one.media}},
            **{str(status): _failure(status) for status in sorted(one.errors)},
        },
    }
    if one.summary:
        told["summary"] = one.summary
    if one.query:
        told["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": kind}} for name, kind in one.query.items()
        ]
    if one.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": one.body}}}
    if one.open:
        told["security"] = []
    return told


def _failure(status: int) -> dict[str, Any]:
    known = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Overloaded"
    return {"description": known, "content": {JSON: {"schema": {"type": "object"}}}}


def _both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Of one method of a path that two dialects have."""
    responses = {**second["responses"], **first["responses"]}
    content = {
        media: value for one in (first, second) for media, value in one["responses"]["200"]["content"].items()
    }
    responses["200"] = {**first["responses"]["200"], "content": content}
    both = {**second, **first, "responses": dict(sorted(responses.items()))}
    bodies = [
        one["requestBody"]["content"][JSON]["schema"] for one in (first, second) if "requestBody" in one
    ]
    if len(bodies) > 1:
        both["requestBody"] = {"required": True, "content": {JSON: {"schema": {"anyOf": bodies}}}}
    return both
