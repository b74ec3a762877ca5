"""Sends a stream's events as they come, keeps silent streams alive, ends work when the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.codecs.base import StreamEncoder
from proxy.conversation.errors import InternalError, RequestError
from proxy.conversation.events import Finish
from proxy.guard.choices import EventSource
from proxy.http.connection import HALF_CLOSED

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection, so that nobody is left to answer."""


@contextlib.contextmanager
def defects_reported() -> Iterator[None]:
    """The boundary towards the client: any exception but a RequestError is logged and becomes an
    InternalError.
    """
    try:
        yield
    except (RequestError, ClientGone, ClientDisconnect):
        raise
    except Exception as error:
        _log.exception("a request failed by a defect of the server")
        raise InternalError("the server failed on this request; its log says why") from error


async def run_while_connected(
    receive: Receive, work: Coroutine[Any, Any, T], drop: Callable[[T], Awaitable[None]] | None = None
) -> T:
    """The result of `work`. When the client goes away, `work` is cancelled and ClientGone is raised.

    The request's body must have been read before.

    drop: ends a result that came all the same: work may have been done when it was cancelled.
    """
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(_wait_for_disconnect(receive))
    returned = False
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            returned = True
            return task.result()
        raise ClientGone
    finally:
        await _cancel(watcher)
        await _cancel(task)
        if drop is not None and not (returned or task.cancelled() or task.exception()):
            await drop(task.result())
        # an error's traceback holds this frame, which would hold the task, which holds the error: a circle,
        # in which a large request would stay in memory until the next full collection
        del watcher, task


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Task[T]) -> None:
    """Cancels the task and waits for it to clean up. Its exception was seen already, or no longer matters."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


class EventStream(Response):
    """A streamed response for opened exchanges, which it closes. Headers are sent before the first token.

    keep_alive_s: after so many seconds of silence an empty delta is sent, because clients give up on silent
        streams and not all of them count a comment as a sign of life.
    headers: further ones of the dialect.
    """

    def __init__(
        self,
        source: EventSource,
        encoder: StreamEncoder,
        keep_alive_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Response.__init__ is not called: it would announce a body of known length.
        self.status_code = 200
        self.background = None
        self._source = source
        self._encoder = encoder
        self._keep_alive_s = keep_alive_s
        self._lock = asyncio.Lock()
        self._sent_at = 0.0
        self.media_type = encoder.media_type
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            half_closed = scope.get("extensions", {}).get(HALF_CLOSED, {}).get("event")
            await run_while_connected(receive, self._stream(send, half_closed))
        except ClientGone:
            _log.debug("the client went away during its stream")
        finally:
            await self._source.aclose()

    async def _stream(self, send: Send, half_closed: asyncio.Event | None) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        self._sent_at = asyncio.get_running_loop().time()  # the headers are a sign of life
        ticker = asyncio.create_task(self._keep_alive(send, half_closed or asyncio.Event()))
        try:
            last = await self._send_events(send)
        finally:
            await _cancel(ticker)
        # Closed first: a client that has read the end of the stream may rely on nothing running for it any
        # more.
        await self._source.aclose()
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_events(self, send: Send) -> bytes:
        """Sends everything but the last bytes, and returns those: a finish, or the error that ends the
        stream.
        """
        last = b""
        try:
            with defects_reported():
                await self._send(send, self._encoder.open())
                async for event in self._source.events():
                    if isinstance(event, Finish):
                        last = self._encoder.close(event)
                    else:
                        await self._send(send, self._encoder.encode(event))
        except RequestError as error:
            return self._encoder.fail(error)
        return last

    async def _send(self, send: Send, data: bytes) -> None:
        if not data:  # for events that the dialect does not tell
            return
        async with self._lock:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            self._sent_at = asyncio.get_running_loop().time()

    async def _keep_alive(self, send: Send, half_closed: asyncio.Event) -> None:
        """Ends a silence with a sign of life. One is also sent when the client has closed its side of the
        connection: what comes back tells the system whether the client is still there.
        """
        clock = asyncio.get_running_loop().time
        while True:
            least = self._keep_alive_s / 10  # while a client does not read, nothing can be sent
            if await _set_within(half_closed, max(least, self._sent_at + self._keep_alive_s - clock())):
                half_closed = asyncio.Event()  # told once
            elif self._lock.locked() or clock() - self._sent_at < self._keep_alive_s:
                continue
            await self._send(send, self._encoder.keep_alive())


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
