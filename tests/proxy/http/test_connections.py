"""Connections as clients of all ages use them: HTTP/1.0, half-closed, half-sent, and gone."""

from __future__ import annotations

import asyncio
import http.client
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from proxy.http import connection as connections
from proxy.http.connection import Unchunked
from proxy.http.routes import Limits
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.http.hostile import CHAT, MESSAGES, OLLAMA, asking, post
from tests.proxy.live import LiveServer, LoopThread, serving


class Open:
    """A server and what its upstream was asked. Its stalls are short enough to wait for."""

    def __init__(self, server: LiveServer, upstream: ScriptedUpstream) -> None:
        self.server = server
        self.upstream = upstream

    def exchange(self, *parts: bytes, half_close: bool = False) -> bytes:
        """All that comes until the connection ends."""
        with self.connect() as client:
            for part in parts:
                client.sendall(part)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)


def read_all(client: socket.socket) -> bytes:
    read = b""
    while part := client.recv(65_536):
        read += part
    return read


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module", params=LOOPS)
def slow(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Each answer takes half a second."""
    upstream = ScriptedUpstream(lambda request: Script(("Hello", Stall(0.5), " there.")))
    limits = Limits(body_silence_s=0.3, body_total_s=1.0, keep_alive_s=5)
    thread = LoopThread(LOOPS[request.param]())
    with serving(upstream, limits=limits, thread=thread) as server:
        yield Open(server, upstream)
    thread.close()


def body(**fields: Any) -> bytes:
    return json.dumps(asking(CHAT, **fields)).encode()


def request(data: bytes, version: str = "1.1", path: str = CHAT) -> bytes:
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def test_http_1_0_gets_no_chunks(slow: Open) -> None:
    whole = slow.exchange(request(body(), "1.0"))
    head, _, rest = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(rest)["choices"][0]["message"]["content"] == "Hello there."
    streamed = slow.exchange(request(body(stream=True), "1.0"))
    head, _, rest = streamed.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert rest.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")


def test_http_1_0_is_streamed_as_it_comes(slow: Open) -> None:
    with slow.connect() as client:
        client.sendall(request(body(stream=True), "1.0"))
        seen = b""
        while b"Hello" not in seen:
            seen += client.recv(65_536)
        assert b"there" not in seen


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_half_closes_gets_its_answer(slow: Open, version: str, stream: bool) -> None:
    answer = slow.exchange(request(body(stream=stream), version), half_close=True)
    assert b"HTTP/1.1 200" in answer
    assert b" there." in answer
    assert slow.upstream.played[-1].finished


@pytest.mark.parametrize("path", [CHAT, MESSAGES, OLLAMA])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_closes_is_gone(slow: Open, path: str, stream: bool) -> None:
    """The system does not tell it from one that half-closes until it is sent something."""
    before = len(slow.upstream.played)
    with slow.connect() as client:
        client.sendall(request(json.dumps(asking(path, stream=stream)).encode(), path=path))
        until(lambda: len(slow.upstream.played) > before)
        if stream:
            client.recv(10)
    until(lambda: slow.upstream.played[-1].closed)
    assert not slow.upstream.played[-1].finished


def until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_body_that_does_not_come_is_a_408(slow: Open) -> None:
    whole = post(CHAT, asking(CHAT))
    answer = slow.exchange(whole[:-5])
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"of the body only" in answer
    assert b"request_body_timeout" in answer
    anthropic = slow.exchange(post(MESSAGES, asking(MESSAGES))[:-5])
    assert anthropic.startswith(b"HTTP/1.1 408")
    assert b'"type":"error"' in anthropic


def test_a_body_that_drips_is_a_408(slow: Open) -> None:
    whole = post(CHAT, asking(CHAT))
    with slow.connect() as client:
        client.sendall(whole[:-60])
        for at in range(60, 5, -1):
            client.sendall(whole[-at : -at + 1])
            if select.select([client], [], [], 0.03)[0]:
                break
        assert client.recv(100).startswith(b"HTTP/1.1 408")


def test_a_head_that_does_not_come_is_a_408(slow: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    assert slow.exchange(b"POST /v1/chat/comple").startswith(b"HTTP/1.1 408")
    assert slow.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\nx: ").startswith(b"HTTP/1.1 408")
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.2)
    assert slow.exchange() == b"", "a connection without a request is closed without a word"


def test_a_head_without_end_is_a_431(slow: Open) -> None:
    with slow.connect() as client:
        answer = b""
        try:
            client.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(40):
                client.sendall(b"x: " + b"y" * 10_000 + b"\r\n")
            answer = read_all(client)
        except ConnectionError:
            return  # it was closed while more was on its way
        assert answer.startswith(b"HTTP/1.1 431")


def test_a_connection_is_kept_for_the_next_request(slow: Open) -> None:
    with slow.connect() as client:
        for _ in range(3):
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, answer.read()[:1]) == (200, b"{")
            time.sleep(0.05)


class Written(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data


HEAD = b"HTTP/1.1 200 OK\r\nx: y\r\n"
PLAIN = HEAD + b"content-length: 3\r\n\r\nabc"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nb\r\n\r\n0\r\n\r\nxyz0\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 1000])
@pytest.mark.parametrize(
    ("sent", "expected"),
    [(PLAIN, PLAIN), (CHUNKED, HEAD + b"\r\nabc\r\n0\r\n\r\nxyz0")],
    ids=["plain", "chunks"],
)
def test_chunks_are_taken_out_however_they_are_written(size: int, sent: bytes, expected: bytes) -> None:
    written = Written()
    transport = Unchunked(written)
    for at in range(0, len(sent), size):
        transport.write(sent[at : at + size])
    assert written.data == expected
