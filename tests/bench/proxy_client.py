"""A client for measuring: one blocking socket that stays open, and as little of its own as can be."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any

from tests.bench.proxy_arms import KEY
from tests.bench.proxy_upstream import MODEL, STAMP, Play

TIMEOUT_S = 60.0
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_FIELDS: dict[str, Any] = {
    "city": {"type": "string", "description": "Name of the city"},
    "days": {"type": "integer", "minimum": 1, "maximum": 14},
    "units": {"type": "string", "enum": ["metric", "imperial"]},
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name}: one of several tools that an agent has",
            "parameters": {"type": "object", "properties": _FIELDS, "required": ["city"]},
        },
    }
    for name in ("get_weather", "get_forecast", "get_alerts", "get_history")
]


def body(play: Play, stream: bool) -> dict[str, Any]:
    """The request that makes the upstream play this."""
    messages = [{"role": "user", "content": play.to_json()}]
    return {"model": MODEL, "messages": messages, "tools": TOOLS, "stream": stream}


def as_http(port: int, request: dict[str, Any]) -> bytes:
    content = json.dumps(request).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Connection:
    """To one server. Raises RuntimeError for whatever is not the answer that was asked for."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port

    def close(self) -> None:
        self._socket.close()

    def whole(self, play: Play) -> float:
        """Seconds from the request's first byte to the answer's last; the calls are checked."""
        request = as_http(self._port, body(play, stream=False))
        began = time.perf_counter()
        self._socket.sendall(request)
        head, rest = self._head()
        length = _LENGTH.search(head)
        while (len(rest) < int(length[1])) if length else not rest.endswith(b"0\r\n\r\n"):
            rest += self._receive()
        took = time.perf_counter() - began
        self._check(head, rest)
        calls = json.loads(rest[rest.find(b"{") : rest.rfind(b"}") + 1])["choices"][0]["message"][
            "tool_calls"
        ]
        got = [json.loads(call["function"]["arguments"]) for call in calls]
        if got != [json.loads(play.arguments(i, True)) for i in range(play.calls)]:
            raise RuntimeError(f"other calls: {got}")
        return took

    def stamps(self, play: Play) -> list[float]:
        """Seconds from the upstream's writing of each piece of text to our reading it."""
        self._socket.sendall(as_http(self._port, body(play, stream=True)))
        head, seen = self._head()
        took: list[float] = []
        at = 0
        while True:
            now = time.monotonic_ns()
            for found in STAMP.finditer(seen, at):
                took.append((now - int(found[1])) / 1e9)
                at = found.end()
            if seen.endswith(b"0\r\n\r\n"):
                break
            seen += self._receive()
        self._check(head, seen)
        if len(took) != play.pieces:
            raise RuntimeError(f"{len(took)} of {play.pieces} pieces: {seen[-300:]!r}")
        return took

    def _head(self) -> tuple[bytes, bytes]:
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._receive()
        head, _, rest = got.partition(b"\r\n\r\n")
        return head, rest

    def _receive(self) -> bytes:
        got = self._socket.recv(1 << 16)
        if not got:
            raise RuntimeError("the connection was closed")
        return got

    def _check(self, head: bytes, rest: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head[:60]!r}: {rest[:300]!r}")
