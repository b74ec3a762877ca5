"""Ollama's errors: the table from our tree to HTTP status; all else that it tells is a message.

https://docs.ollama.com/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.conversation.errors import (
    BadRequest,
    BadTool,
    BodyTooLarge,
    BodyTooSlow,
    CallFailed,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PaymentRequired,
    RateLimited,
    RequestError,
    RequestTimeout,
    Unauthorized,
    UnsupportedEncoding,
    UpstreamUnavailable,
    row_of,
)

_STATUSES: dict[type[RequestError], int] = {
    BadRequest: 400,
    UnsupportedEncoding: 415,
    BodyTooLarge: 413,
    BodyTooSlow: 408,
    Unauthorized: 401,
    PaymentRequired: 402,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Overloaded: 503,
    RateLimited: 429,
    UpstreamUnavailable: 503,
    RequestTimeout: 504,
    CallFailed: 502,
    InternalError: 500,
}


def status_of(error: RequestError) -> int:
    return row_of(error, _STATUSES)


def error_object(error: RequestError, tool_paths: Mapping[str, str] | None = None) -> dict[str, str]:
    """{"error": message}, whole and as the last line of a stream. The message names the field.

    tool_paths: where in the request each tool stands, by its name, for an error about one.
    """
    message = error.message
    if isinstance(error, BadTool) and tool_paths and error.tool in tool_paths:
        message = f"{tool_paths[error.tool]}.parameters: {message}"
    return {"error": message}
