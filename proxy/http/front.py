"""The answers to `GET /`: the page for a browser, and for everything else that a server is here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from proxy.http.index import RUNNING
from proxy.http.page.document import page_document


def front(keyed: bool) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint. A browser says in its header `Accept` that it reads HTML. keyed: the server has an API
    key.
    """

    async def answer(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return Response(RUNNING, media_type="text/plain", headers={"vary": "accept"})
        document = page_document(keyed)
        headers = {**document.headers, "vary": "accept"}
        if document.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(document.html, media_type="text/html", headers=headers)

    return answer
