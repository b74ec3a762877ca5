"""Asks OpenAI-compatible servers over HTTP directly, so that text reaches the client without delay.

Which server is asked is decided by the Router.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import msgspec

from proxy.upstreams.remote.refusals import Failure

# Shorter than the 5 s after which common servers close an idle connection, so that none is closed under a
# request.
_IDLE_S = 4.0
_CONNECT_S = 30.0
_MAX_EVENT = 16 * 1024 * 1024
_MAX_ERROR = 64 * 1024
# Seconds that a server may take to end the body after its last event; then the connection is closed instead.
_LAST_BYTES_S = 0.05
_HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream",
    "accept-encoding": "identity",  # a compressing server would hold text back
}
_FILTERED = ("content_filter", "content_policy_violation")


class ServerFailed(Exception):
    """A server refused a request, or broke off its answer. failure: what it said."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class Piece(msgspec.Struct):
    """A piece of a call. arguments: text, but some servers send the object itself."""

    index: Any = None
    id: Any = None
    function: Function | None = None


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Piece] | None = None


class Choice(msgspec.Struct):
    """text: in place of delta, where a raw prompt is gone on from."""

    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    text: str | None = None


class Counts(msgspec.Struct):
    """Token counts, all that is read of a request's usage."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: Counts | None = None
    completion_tokens_details: Counts | None = None
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class Chunk(msgspec.Struct):
    """One event of a stream. error: what the event holds in place of everything else."""

    choices: list[Choice] | None = None
    usage: Counts | None = None
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode


class ServerStream:
    """The chunks of one answer, from ask_server()."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._buffer = b""
        self._lines: list[bytes] = []
        self._done = False

    async def next(self) -> Chunk | None:
        """The next chunk; None at the end of the stream. Raises ServerFailed, aiohttp.ClientError."""
        while not self._done:
            while self._lines:
                line = self._lines.pop()
                if line.startswith(b"data:"):
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        self._done = True
                        return None
                    return read_chunk(data)
            part = await self._response.content.readany()
            if not part and not self._buffer:
                self._done = True
                return None
            part = part or b"\n"  # the last event may lack its line break
            *lines, self._buffer = (self._buffer + part).split(b"\n")
            if len(self._buffer) > _MAX_EVENT:
                raise ServerFailed(Failure("", 0, f"it sent an event of more than {_MAX_EVENT} bytes"))
            self._lines = lines[::-1]
        return None

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


def read_chunk(data: bytes) -> Chunk:
    """The chunk in one event's data. Raises ServerFailed for data that is no chunk, and for an error in its
    place.
    """
    try:
        chunk = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerFailed(
            Failure("", 0, f"it sent something that is not a chunk of an answer: {error}")
        ) from error
    if chunk.error is not None:
        raise ServerFailed(read_failure(0, {"error": chunk.error}, {}))
    return chunk


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
    body = {key: value for key, value in params.items() if key != "extra_body"}
    body |= {**params.get("extra_body", {}), "model": model}
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


def read_failure(status: int, said: Any, headers: Mapping[str, str]) -> Failure:
    """The failure in a response. status: 0 in a stream, where the error itself may tell it. said: the parsed
    body.
    """
    error = said.get("error", said) if isinstance(said, dict) else said
    if not isinstance(error, dict):
        return Failure("", status, str(error), headers)
    code = error.get("code")
    message = error.get("message") or error.get("detail") or json.dumps(error)
    kind = "ContextWindowExceededError" if code == "context_length_exceeded" else ""
    if code in _FILTERED:
        kind = "ContentPolicyViolationError"
    if not status and isinstance(code, int) and 400 <= code < 600:
        status = code
    return Failure(kind, status, message if isinstance(message, str) else json.dumps(message), headers)
