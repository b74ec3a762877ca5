"""Asks OpenAI-compatible servers over HTTP directly, so that text reaches the client without delay.

Which server is asked is decided by the Router.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx

from proxy.upstreams.remote.chunk_reader import ChunkReader
from proxy.upstreams.remote.chunks import Chunk
from proxy.upstreams.remote.failures import ServerFailed, read_failure
from proxy.upstreams.remote.refusals import Failure

# Shorter than the 5 s after which common servers close an idle connection, so that none is closed under a
# request.
_IDLE_S = 4.0
_CONNECT_S = 30.0
_MAX_ERROR = 64 * 1024
# Seconds that a server may take to end the body after its last event; then the connection is closed instead.
_LAST_BYTES_S = 0.05
_HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream",
    "accept-encoding": "identity",  # a compressing server would hold text back
}


class ServerStream:
    """The chunks of one answer, from ask_server()."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._reader = ChunkReader()
        self._chunks: deque[Chunk] = deque()
        self._done = False

    async def next(self) -> Chunk | None:
        """The next chunk; None at the end of the stream. Raises ServerFailed, aiohttp.ClientError."""
        while not self._chunks:
            if self._reader.failure is not None:
                raise self._reader.failure
            if self._done:
                return None
            part = await self._response.content.readany()
            self._chunks += self._reader.feed(part) if part else self._reader.end()
            self._done = self._reader.done or not part
        return self._chunks.popleft()

    async def aclose(self) -> None:
        """Keeps the connection for the next request where the answer was read to its end, else closes it."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            if self._done and not self._response.content.at_eof():
                async with asyncio.timeout(_LAST_BYTES_S):
                    await self._response.content.readany()
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def make_session() -> aiohttp.ClientSession:
    """The session for all requests of an upstream, which the caller closes. Its only time limit is for
    connecting.
    """
    return aiohttp.ClientSession(
        # certificates are trusted by the same rules as for our other requests
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ssl=httpx.create_ssl_context()),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def ask_server(
    session: aiohttp.ClientSession,
    base_url: str,
    secret: str,
    model: str,
    params: Mapping[str, Any],
    path: str = "chat/completions",
) -> ServerStream:
    """Sends a request. params: as for an OpenAI client, `extra_body` among them. path: what follows the
    base_url. Raises ServerFailed, aiohttp.ClientError.
    """
    ours = {key: value for key, value in params.items() if key != "extra_body"}
    body = {**params.get("extra_body", {}), **ours, "model": model}
    url = f"{base_url}/{path}"
    headers = {"authorization": f"Bearer {secret}", **_HEADERS}
    content = json.dumps(body).encode()
    try:
        response = await session.post(url, data=content, headers=headers, proxy=proxy_for(url))
    except aiohttp.ConnectionTimeoutError as error:
        raise ServerFailed(Failure("", 0, f"it could not be reached within {_CONNECT_S:g} s")) from error
    if response.status == 200:
        return ServerStream(response)
    try:
        said = await response.content.read(_MAX_ERROR)
    finally:
        response.close()
    told = {name.lower(): value for name, value in response.headers.items()}
    raise ServerFailed(read_failure(response.status, _parsed(said), told))


@functools.lru_cache(64)
def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, or the system's settings."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _parsed(said: bytes) -> Any:
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return said.decode("utf-8", "replace")
