"""OpenAI's errors: the table from our tree to HTTP status, `type` and `code`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.conversation.errors import (
    BadBody,
    BadRequest,
    BadTool,
    BodyTooLarge,
    BodyTooSlow,
    CallFailed,
    ContextTooLong,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    Overloaded,
    PaymentRequired,
    RequestError,
    RequestTimeout,
    Unauthorized,
    UnsupportedEncoding,
    UpstreamTimeout,
    UpstreamUnavailable,
    row_of,
)


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How one class of error leaves: HTTP status, `type`, and `code` where the error has none."""

    status: int
    type: str
    code: str | None


_SHAPES: dict[type[RequestError], ErrorShape] = {
    BadRequest: ErrorShape(400, "invalid_request_error", None),
    BadBody: ErrorShape(400, "invalid_request_error", "invalid_json"),
    UnsupportedEncoding: ErrorShape(415, "invalid_request_error", "unsupported_content_encoding"),
    BadTool: ErrorShape(400, "invalid_request_error", "invalid_function_parameters"),
    ContextTooLong: ErrorShape(400, "invalid_request_error", "context_length_exceeded"),
    BodyTooLarge: ErrorShape(413, "invalid_request_error", "request_too_large"),
    BodyTooSlow: ErrorShape(408, "invalid_request_error", "request_body_timeout"),
    Unauthorized: ErrorShape(401, "authentication_error", "invalid_api_key"),
    PaymentRequired: ErrorShape(402, "insufficient_quota", "insufficient_quota"),
    Forbidden: ErrorShape(403, "permission_error", "permission_denied"),
    NotFound: ErrorShape(404, "invalid_request_error", "not_found"),
    ModelNotFound: ErrorShape(404, "invalid_request_error", "model_not_found"),
    MethodNotAllowed: ErrorShape(405, "invalid_request_error", "method_not_allowed"),
    Overloaded: ErrorShape(429, "rate_limit_error", "rate_limit_exceeded"),
    UpstreamUnavailable: ErrorShape(503, "server_error", "upstream_unavailable"),
    RequestTimeout: ErrorShape(504, "timeout_error", "request_timeout"),
    UpstreamTimeout: ErrorShape(504, "timeout_error", "upstream_timeout"),
    CallFailed: ErrorShape(502, "server_error", "tool_call_failed"),
    InternalError: ErrorShape(500, "server_error", "internal_error"),
}


def status_of(error: RequestError) -> int:
    return row_of(error, _SHAPES).status


def error_object(error: RequestError, tool_paths: Mapping[str, str] | None = None) -> dict[str, Any]:
    """OpenAI's error body: {"error": {"message", "type", "param", "code"}}.

    tool_paths: where in the request each tool stands, by its name, for an error about one.
    """
    shape = row_of(error, _SHAPES)
    message, param = error.message, error.param
    if isinstance(error, BadTool) and tool_paths and error.tool in tool_paths:
        param = f"{tool_paths[error.tool]}.parameters"
        message = f"{param}: {error.message}"
    return {
        "error": {
            "message": message,
            "type": shape.type,
            "param": param,
            "code": error.code or shape.code,
        }
    }
