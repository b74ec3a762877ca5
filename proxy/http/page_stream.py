"""Sends the events of the page as server-sent events.

Their format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from proxy.http.connection import ABORT
from proxy.http.keys import authorise
from proxy.http.page.feed import Feed, OpenPage
from proxy.http.sse import ClientGone, run_while_connected

_log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"


def page_events(keys: Sequence[str], feed: Feed) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint. keys: the server's API keys."""

    async def events(request: Request) -> Response:
        authorise(keys, request)
        if request.method == "HEAD":  # it has no body, and that of the stream has no end
            return Response(media_type=MEDIA_TYPE)
        return PageStream(feed.open())

    return events


class PageStream(Response):
    """A streamed response with one event for each JSON text. It ends when the texts do, or the reader goes
    away. A reader that does not take what is sent is cut off when its page ends.
    """

    media_type = MEDIA_TYPE

    def __init__(self, page: OpenPage) -> None:
        # Response.__init__ is not called: it would announce a body of known length.
        self.status_code = 200
        self.background = None
        self._page = page
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        abort = scope.get("extensions", {}).get(ABORT, {}).get("call")
        with closing(self._page):
            try:
                await run_while_connected(receive, self._stream(send))
            except ClientGone:
                _log.debug("a page was closed")
            except _TooSlow:
                _log.debug("a page that did not take its events was closed")
                if abort is not None:
                    abort()

    async def _stream(self, send: Send) -> None:
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for text in self._page:
            body = f"data: {text}\n\n".encode()
            await self._send(send, {"type": "http.response.body", "body": body, "more_body": True})
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, message: Message) -> None:
        """Raises _TooSlow where the page ends before the message is taken."""
        sending = asyncio.ensure_future(send(message))
        ended = asyncio.ensure_future(self._page.ended.wait())
        try:
            await asyncio.wait({sending, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise _TooSlow
            sending.result()
        finally:
            sending.cancel()
            ended.cancel()


class _TooSlow(Exception):
    """The reader does not take what is sent."""
