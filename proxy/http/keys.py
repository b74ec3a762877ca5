"""Checks the API key of a request."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from fastapi import Request

from proxy.conversation.errors import Unauthorized


def authorise(keys: Sequence[str], request: Request) -> None:
    """Takes a key as `Authorization: Bearer` or as `x-api-key`. Clients that send both may mean one of them
    for another server. Without keys everyone is let in. Raises Unauthorized.
    """
    if not keys:
        return
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = [bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("x-api-key", "")]
    # headers are read as Latin-1; this restores the bytes that were sent. All pairs are compared, so that the
    # time says nothing of which key is right.
    right = [hmac.compare_digest(one.encode("latin-1"), key.encode()) for one in given for key in keys]
    if not any(right):
        raise Unauthorized("no valid API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")
