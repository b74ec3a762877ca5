"""A body that no one can read is a 4xx in the shape of the route's dialect: every dialect, every POST route.

The routes are those of the registry, so that a new dialect is covered by being there.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.codecs.base import Codec, CodecRoute, Operation
from proxy.codecs.registry import CODECS
from proxy.conversation.errors import BadBody, BadRequest, BodyTooLarge
from proxy.http.routes import Limits
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.live import LiveServer, serving
from tests.proxy.tokenizer import ByteTokenizer

MOST = 256 * 1024
ROUTES = [
    (codec, route)
    for codec in CODECS
    for route in codec.routes
    if route.method == "POST" and route.operation is not Operation.kept  # what is kept is asked by path
]


def route_id(found: Any) -> str:
    return found.path if isinstance(found, CodecRoute) else type(found).__name__


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "space": b" \n" * 1000,
    "one_brace": b"{",
    "cut": b'{"model": "scripted", "messages": [{"role": "us',
    "two_values": b'{"model": "scripted"}{"model": "scripted"}',
    "trailing_comma": b'{"model": "scripted",}',
    "single_quotes": b"{'model': 'scripted'}",
    "form": b"model=scripted&prompt=hi",
    "not_a_number": b'{"temperature": NaN}',
    "endless_number": b'{"temperature": 1e999}',
    "not_utf8": b'{"model": "\xff\xfe"}',
    "cut_character": b'{"model": "\xe2\x82"}',
    "latin_1": '{"model": "caf\xe9"}'.encode("latin-1"),
    "surrogates": b'{"model": "\xed\xa0\x80"}',
    "utf_16": '{"model": "scripted"}'.encode("utf-16"),
    "utf_32": '{"model": "scripted"}'.encode("utf-32"),
    "mark_alone": b"\xef\xbb\xbf",
    "two_marks": b'\xef\xbb\xbf\xef\xbb\xbf{"model": "scripted"}',
    "mark_and_not_utf8": b'\xef\xbb\xbf{"model": "\xff"}',
    "nul": b"\0" * 100,
    "binary": bytes(range(256)),
    "null": b"null",
    "true": b"true",
    "number": b"5",
    "text": b'"hello"',
    "array": b"[]",
    "array_of_bodies": b'[{"model": "scripted"}]',
    "deep_arrays": b"[" * 100_000,
    "deep_objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "deep_field": b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
}
# Fields that one dialect or the other has, each with a value that fits none of them.
FIELDS = ("messages", "prompt", "input", "tokens", "content", "system", "tools", "stream", "format")
WRONG: dict[str, dict[str, Any]] = {
    "model_number": {"model": 5},
    "model_array": {"model": ["scripted"]},
    "model_object": {"model": {"id": "scripted"}},
    "model_beside_others": {"model": True, "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"},
    "number": dict.fromkeys(FIELDS, 1.5),
    "true": dict.fromkeys(FIELDS, True),
    "object": {name: {"a": 1} for name in FIELDS},
    "nested": {name: [[{}]] for name in FIELDS},
}
USABLE: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}], "input": "hi"},
    {"prompt": "hi", "tokens": [104]},
]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    can = Capabilities(tokenizer=ByteTokenizer())
    upstream = ScriptedUpstream(lambda request: Script(("ok",)), capabilities=can)
    with serving(upstream, limits=Limits(max_body_bytes=MOST)) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=60) as client:
        yield client


def post(client: httpx.Client, server: LiveServer, route: CodecRoute, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return client.post(server.root + route.path, content=body, headers=headers)


def form(value: Any) -> Any:
    """The names in an error object, at every depth; what may be null is there or not."""
    return {name: form(item) for name, item in value.items()} if isinstance(value, dict) else None


def check(codec: Codec, response: httpx.Response, expected: BadRequest | BodyTooLarge) -> None:
    """That the answer is one that the codec itself would give to an error of this kind."""
    due = codec.encode_error(expected, None, "id")
    assert response.status_code == due.status, response.text
    assert 400 <= response.status_code < 500
    assert form(response.json()) == form(json.loads(due.body))
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(("codec", "route"), ROUTES, ids=route_id)
def test_a_body_that_cannot_be_read(
    server: LiveServer, client: httpx.Client, codec: Codec, route: CodecRoute
) -> None:
    for name, body in UNREADABLE.items():
        response = post(client, server, route, body)
        assert response.status_code < 500, name
        check(codec, response, BadBody(""))


@pytest.mark.parametrize(("codec", "route"), ROUTES, ids=route_id)
def test_a_body_of_wrong_types(
    server: LiveServer, client: httpx.Client, codec: Codec, route: CodecRoute
) -> None:
    named_only = route.operation is Operation.named_model  # it reads no other field
    for name, fields in WRONG.items():
        if named_only and "model" not in fields:
            continue
        response = post(client, server, route, json.dumps(fields).encode())
        assert 400 <= response.status_code < 500, name
        check(codec, response, BadRequest(""))


@pytest.mark.parametrize(("codec", "route"), ROUTES, ids=route_id)
def test_a_body_that_is_too_large(
    server: LiveServer, client: httpx.Client, codec: Codec, route: CodecRoute
) -> None:
    check(codec, post(client, server, route, b'{"x": "' + b"x" * MOST + b'"}'), BodyTooLarge(""))


@pytest.mark.parametrize(("codec", "route"), ROUTES, ids=route_id)
def test_a_byte_order_mark_is_no_part_of_the_body(
    server: LiveServer, client: httpx.Client, codec: Codec, route: CodecRoute
) -> None:
    """Editors and .NET clients put one before UTF-8: what is behind it counts."""
    statuses = []
    for fields in USABLE:
        body = json.dumps({"model": "scripted", "max_tokens": 5, **fields}).encode()
        plain, marked = (post(client, server, route, mark + body) for mark in (b"", b"\xef\xbb\xbf"))
        assert marked.status_code == plain.status_code, marked.text
        statuses.append(plain.status_code)
    assert 200 in statuses, "one of these bodies is one of the dialect's"


def test_the_table_has_every_dialect() -> None:
    assert {codec for codec, _ in ROUTES} == set(CODECS)
    assert len(ROUTES) >= 18
