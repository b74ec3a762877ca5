"""One connection of a client, as uvicorn serves it, and what uvicorn leaves open.

- A head must come within a time, and not grow without end.
- A client that has sent its request may close its side of the connection and still gets its answer.
- An answer of unknown length to an HTTP/1.0 client ends with the connection: that client knows no chunks
  (https://www.rfc-editor.org/rfc/rfc9112#section-6.1).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seconds from the first byte of a request's head to its last, and its bytes. Proxies allow as much.
HEAD_S = 30.0
MAX_HEAD = 128 * 1024
# Seconds for which a connection may stay without a request, its first one included. An agent's connection
# waits while its tools run; a connection that is closed under a request costs it a retry.
KEEP_ALIVE_S = 300
# Seconds between looks at a client that has closed its side, and how long one of HTTP/1.0 is answered after
# that.
_LOOK_S = 0.1
_OLD_CLIENT_S = 10.0
HALF_CLOSED = "fortieth.half_closed"
ABORT = "fortieth.abort"


class HttpConnection(HttpToolsProtocol):
    """scope["extensions"][HALF_CLOSED]["event"] is set when the client has closed its side: whoever streams
    an answer then sends something, by which the system finds out whether the client is there at all.
    scope["extensions"][ABORT]["call"]() ends the connection without waiting for what the client has not read.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = None
        self._half_closed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head(KEEP_ALIVE_S, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")
        elif self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head(KEEP_ALIVE_S, None)  # what came was line ends before a request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {
            HALF_CLOSED: {"event": self._half_closed},
            ABORT: {"call": self.transport.abort},
        }
        self._wait_for_head(HEAD_S, 0)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if self.parser.get_http_version() == "1.0":
            self.transport = Unchunked(self.transport)
        super().on_headers_complete()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Whether the connection stays: an answer is due to a request that came whole."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return None
        self.cycle.keep_alive = False
        self._half_closed.set()
        self._watch = self.loop.create_task(self._watch_client())
        return True

    async def _watch_client(self) -> None:
        """Closes the connection once the client is known to be gone. A client that has closed both sides
        looks like one that has closed its own, until it is sent something. Before an answer has begun that is
        an interim response, which clients of HTTP/1.1 skip; those of HTTP/1.0 know none, and are only waited
        for.
        """
        old = isinstance(self.transport, Unchunked)
        until = self.loop.time() + _OLD_CLIENT_S
        if not old and not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        connected: socket.socket = self.transport.get_extra_info("socket")
        while not self.transport.is_closing():
            await asyncio.sleep(_LOOK_S)
            late = old and not self.cycle.response_started and self.loop.time() > until
            if late or connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.transport.abort()
                return

    def _wait_for_head(self, seconds: float, bytes_so_far: int | None) -> None:
        self._stop_waiting()
        self._head_bytes = bytes_so_far
        begun = bytes_so_far is not None
        self._head = self.loop.call_later(seconds, self._late, begun)

    def _stop_waiting(self) -> None:
        self._head_bytes = None
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _late(self, begun: bool) -> None:
        if begun:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()


class Unchunked(asyncio.Transport):
    """A transport that takes the chunks out of an answer, https://www.rfc-editor.org/rfc/rfc9112#section-7.1.
    It is written to in the pieces of that form, whole or not.
    """

    def __init__(self, inner: asyncio.Transport) -> None:
        super().__init__()
        self._inner = inner
        self._waiting = b""
        self._in_head = True
        self._chunked = False
        self._left = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._waiting += data
        if self._in_head and not self._write_head():
            return
        if not self._chunked:
            self._inner.write(self._take(len(self._waiting)))
            return
        while self._waiting:
            if self._left:
                body = self._take(self._left)
                self._left -= len(body)
                self._inner.write(body)
                continue
            end = self._waiting.find(b"\r\n", 1)  # the one before the size ends the last chunk
            if end < 0:
                return
            size = self._take(end + 2).strip()
            self._left = int(size, 16) if size else 0

    def _write_head(self) -> bool:
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = self._take(end + 4).split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(b"transfer-encoding:")]
        self._in_head, self._chunked = False, len(kept) < len(lines)
        self._inner.write(b"\r\n".join(kept))
        return True

    def _take(self, size: int) -> bytes:
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()
