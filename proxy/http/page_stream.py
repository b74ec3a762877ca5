"""Sends the events of the page as server-sent events.

Their format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.http.keys import authorise
from proxy.http.page.feed import Feed
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
    away.
    """

    media_type = MEDIA_TYPE

    def __init__(self, texts: AsyncGenerator[str, None]) -> None:
        # Response.__init__ is not called: it would announce a body of known length.
        self.status_code = 200
        self.background = None
        self._texts = texts
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await run_while_connected(receive, self._stream(send))
        except ClientGone:
            _log.debug("a page was closed")

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._texts) as texts:
            async for text in texts:
                body = f"data: {text}\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
