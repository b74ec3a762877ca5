"""Anthropic's errors: the table from our tree to HTTP status and `type`.

https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

_SHAPES: dict[type[RequestError], tuple[int, str]] = {
    BadRequest: (400, "invalid_request_error"),
    UnsupportedEncoding: (415, "invalid_request_error"),
    BodyTooLarge: (413, "request_too_large"),
    BodyTooSlow: (408, "invalid_request_error"),
    Unauthorized: (401, "authentication_error"),
    PaymentRequired: (402, "billing_error"),
    Forbidden: (403, "permission_error"),
    NotFound: (404, "not_found_error"),
    MethodNotAllowed: (405, "invalid_request_error"),
    Overloaded: (529, "overloaded_error"),
    RateLimited: (429, "rate_limit_error"),
    UpstreamUnavailable: (503, "api_error"),
    RequestTimeout: (504, "timeout_error"),
    CallFailed: (502, "api_error"),
    InternalError: (500, "api_error"),
}


class ThreadUnsupported(BadRequest):
    """The request wants its conversation kept here. Clients that read the details send all of it instead."""

    def __init__(self) -> None:
        super().__init__(
            "thread: conversations are not kept here; send all messages, without `thread`", param="thread"
        )


def status_of(error: RequestError) -> int:
    return row_of(error, _SHAPES)[0]


def error_object(
    error: RequestError, request_id: str, tool_paths: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """{"type": "error", "error": {"type", "message"}, "request_id"}. The message names the field.

    tool_paths: where in the request each tool stands, by its name, for an error about one.
    """
    message = error.message
    if isinstance(error, BadTool) and tool_paths and error.tool in tool_paths:
        message = f"{tool_paths[error.tool]}.input_schema: {message}"
    told: dict[str, Any] = {"type": row_of(error, _SHAPES)[1], "message": message}
    if isinstance(error, ThreadUnsupported):
        told["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    return {"type": "error", "error": told, "request_id": request_id}
