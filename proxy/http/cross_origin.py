"""Web pages of other origins: refused, or let in by name (https://fetch.spec.whatwg.org/#http-cors-protocol).

A browser sends a page's requests to any server, and only keeps the answers from the page: without a refusal,
any page that a user looks at could have the models of the user's machine work for it. A page whose own name
comes to point to this machine (DNS rebinding) is no other origin to the browser, and is known by the name in
`Host`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.conversation.errors import Forbidden

ANY = "*"
_METHODS = "GET, HEAD, POST, DELETE"
_TOLD = ", ".join(
    [
        *("x-request-id", "request-id", "retry-after"),
        *("x-fortieth-verdict", "x-fortieth-fixes", "x-fortieth-attempts", "x-fortieth-cache"),
        *("x-fortieth-answer", "x-fortieth-give-up", "x-fortieth-warning"),
    ]
)
_MAX_AGE_S = "7200"  # the longest that Chrome keeps an answer to a preflight
_USUAL_HEADERS = "authorization, content-type"
_HEADER_NAMES = re.compile(r"[\w\-, ]{1,2000}", re.ASCII)
_SHOWN = 100
# Names that nobody far away can have: RFC 6761, RFC 6762, and what containers call their machine.
_NEAR = (".localhost", ".local", ".internal")


class CrossOrigin:
    """Middleware. allowed: origins (`https://chat.example.org`, `app://obsidian.md`) whose pages may use the
    API, or ANY. refuse: encodes the refusal. near: only programs of this machine can reach the server, and it
    asks for no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed: Sequence[str],
        refuse: Callable[[Request, Forbidden], Response],
        near: bool = False,
    ) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._refuse = refuse
        self._near = near and ANY not in self._allowed
        self._names = {urlsplit(origin).hostname for origin in self._allowed} | {socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "") if scope["type"] == "http" else ""
        if self._near and not _is_near(host) and _name_of(host) not in self._names:
            reason = (
                f"this server is for its machine alone and was asked as {host[:_SHOWN]!r}; where that is one "
                "of its names, set FORTIETH_API_KEY, or start it with `--cors https://NAME`"
            )
            await self._refuse(Request(scope), Forbidden(reason))(scope, receive, send)
            return
        origin = headers.get("origin") if scope["type"] == "http" else None
        if origin is None:
            await self._app(scope, receive, send)
        elif ANY in self._allowed or origin in self._allowed:
            await self._answer(origin, scope, receive, send)
        elif _is_foreign_page(origin, headers):
            reason = (
                f"web pages of the origin {origin[:_SHOWN]!r} may not use this server; where they are to, "
                "start it with `--cors ORIGIN`"
            )
            await self._refuse(Request(scope), Forbidden(reason))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, origin: str, scope: Scope, receive: Receive, send: Send) -> None:
        told = {"access-control-allow-origin": ANY if ANY in self._allowed else origin, "vary": "Origin"}
        asked = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            await Response(status_code=204, headers=told | _preflight(asked))(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told | {"access-control-expose-headers": _TOLD})
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _preflight(asked: Headers) -> dict[str, str]:
    """A page may ask for everything: the key decides."""
    names = asked.get("access-control-request-headers", "")
    told = {
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": names if _HEADER_NAMES.fullmatch(names) else _USUAL_HEADERS,
        "access-control-max-age": _MAX_AGE_S,
    }
    if "access-control-request-private-network" in asked:  # a page of the Internet asks a server at home
        told["access-control-allow-private-network"] = "true"
    return told


def _name_of(host: str) -> str:
    """The name in a `Host`, without the port."""
    return re.sub(r":\d*\Z", "", host.strip().lower()).rstrip(".")


def _is_near(host: str) -> bool:
    """Whether nobody else can have a page sent from this host: an address, a name of this machine or its
    network.
    """
    name = _name_of(host)
    try:
        ipaddress.ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return "." not in name or name.endswith(_NEAR)
    return True


def _is_foreign_page(origin: str, headers: Headers) -> bool:
    """Whether the request comes from a page that another server has sent. `null` stands for pages that hide
    their origin. Programs of the user's own (`app://`, `file://`, `chrome-extension://`) are no pages: nobody
    else can have them sent.

    A reverse proxy may send another `Host` than the page has asked for. Then it is the browser that says that
    both are one, or the proxy that tells the page's host: no page can write either header without a
    preflight.
    """
    if headers.get("sec-fetch-site") == "same-origin":
        return False
    if origin == "null":
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return True
    own = {headers.get(name, "").lower() for name in ("host", "x-forwarded-host")}
    return parts.scheme in ("http", "https") and parts.netloc.lower() not in own
