"""Sends whole responses: JSON, and errors as a codec encodes them, with `Retry-After` where one has it."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from fastapi import Request, Response

from proxy.codecs.base import Codec, Decoded
from proxy.conversation.errors import BodyTooLarge, BodyTooSlow, RequestError, UnsupportedEncoding

_log = logging.getLogger(__name__)


class JSONResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else msgspec.json.encode(content)


def request_id_of(request: Request) -> str:
    """The request's id, which RequestLog has put among its headers."""
    return request.headers.get("x-request-id", "")


def error_response(
    codec: Codec, error: RequestError, request: Request, asked: Decoded | None = None
) -> Response:
    """The response for an error. asked: the decoded request, where decoding came that far."""
    _log.debug("refused: %s", error.message)
    reply = codec.encode_error(error, asked, request_id_of(request))
    return JSONResponse(
        reply.body, status_code=reply.status, headers={**retry_headers(error), **reply.headers}
    )


def retry_headers(error: RequestError) -> dict[str, str]:
    """Headers of an error in every dialect: Retry-After in whole seconds, at least 1, where the error tells
    when to come again.

    After a body that was not read to its end the connection cannot be used again, so it is closed. A body
    whose encoding is not known is answered with those that are.
    """
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, BodyTooLarge | BodyTooSlow):
        headers["connection"] = "close"
    if isinstance(error, UnsupportedEncoding):
        headers["accept-encoding"] = ", ".join(error.readable)
    return headers
