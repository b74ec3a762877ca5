"""Every failure that the server or its command line can report, as one tree.

FortiethError
├── StartError                    the server cannot start: one line on stderr, exit code 1
│   └── SettingsError             a flag, variable or file holds something that is no setting
└── RequestError                  one request fails: an HTTP status and an error object
    ├── BadRequest                a field has the wrong type or value; `param` names it
    │   ├── BadBody               the body is no JSON object at all
    │   └── ContextTooLong        the prompt leaves no room in the model's context
    │       └── ContextRefused    an upstream says so, in its own words
    ├── BodyTooLarge              more bytes than the server reads
    ├── Unauthorized              no or a wrong API key
    ├── Forbidden                 the key may not do this
    ├── NotFound                  no such route
    │   └── ModelNotFound         no such model
    ├── MethodNotAllowed          the route exists, the method does not
    ├── Overloaded                the queue is full; worth trying again
    ├── UpstreamUnavailable       the model cannot answer now; worth trying again
    ├── RequestTimeout            it took longer than it may
    │   └── UpstreamTimeout       the upstream was silent for too long
    ├── CallFailed                the model's tool call could not be saved, and an error was asked for
    └── InternalError             a defect of ours; the log has the traceback
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


class FortiethError(Exception):
    """The root of the tree. str(error) is the message for the person who reads it."""


class StartError(FortiethError):
    """The server cannot start. The message says what was tried and what was got."""


class SettingsError(StartError):
    """A setting is unknown or has a wrong value. The message names the setting and where it stood."""


class RequestError(FortiethError):
    """One request fails. param: the field's path, such as `messages[2].content`. code: OpenAI's name for it.

    retry_after_s: seconds after which the same request may succeed, where we know. asked: the deployments of
    an upstream that were asked before it failed; for the account, the client is not told.
    """

    asked: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


class BadRequest(RequestError):
    pass


class BadBody(BadRequest):
    pass


class ContextTooLong(BadRequest):
    """The message holds the phrases by which agents know that they must compact their history."""

    def __init__(self, tokens: int, context_length: int) -> None:
        super().__init__(
            f"prompt is too long: {tokens} tokens > {context_length - 1} maximum. "
            f"This model's maximum context length is {context_length} tokens. However, your messages "
            f"resulted in {tokens} tokens. Please reduce the length of the messages.",
            param="messages",
        )


class ContextRefused(ContextTooLong):
    """said: the upstream's message."""

    def __init__(self, said: str) -> None:
        super(ContextTooLong, self).__init__(f"prompt is too long: {said}", param="messages")


class BodyTooLarge(RequestError):
    pass


class Unauthorized(RequestError):
    pass


class Forbidden(RequestError):
    pass


class NotFound(RequestError):
    pass


class ModelNotFound(NotFound):
    pass


class MethodNotAllowed(RequestError):
    pass


class Overloaded(RequestError):
    pass


class UpstreamUnavailable(RequestError):
    pass


class RequestTimeout(RequestError):
    """limit_s: what the server or the client set."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the request was not finished within {limit_s:g} s")


class UpstreamTimeout(RequestTimeout):
    """said: by whom, and what was waited for."""

    def __init__(self, said: str) -> None:
        super(RequestTimeout, self).__init__(said)


class CallFailed(RequestError):
    """problems: why the calls of the turn cannot be executed, each told as `place: reason`."""

    def __init__(self, problems: Sequence[str], attempts: int) -> None:
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"the model was asked {times} and made no tool call that can be executed: {'; '.join(problems)}"
        )


class InternalError(RequestError):
    pass


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How one class of error leaves: HTTP status, OpenAI's `type`, and `code` where the error has none."""

    status: int
    type: str
    code: str | None


_SHAPES: dict[type[RequestError], ErrorShape] = {
    BadRequest: ErrorShape(400, "invalid_request_error", None),
    BadBody: ErrorShape(400, "invalid_request_error", "invalid_json"),
    ContextTooLong: ErrorShape(400, "invalid_request_error", "context_length_exceeded"),
    BodyTooLarge: ErrorShape(413, "invalid_request_error", "request_too_large"),
    Unauthorized: ErrorShape(401, "authentication_error", "invalid_api_key"),
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


def shape_of(error: RequestError) -> ErrorShape:
    """The row of the table for this error: its own class, else the nearest one above."""
    return next(_SHAPES[cls] for cls in type(error).__mro__ if cls in _SHAPES)


def error_object(error: RequestError) -> dict[str, Any]:
    """OpenAI's error body: {"error": {"message", "type", "param", "code"}}."""
    shape = shape_of(error)
    return {
        "error": {
            "message": error.message,
            "type": shape.type,
            "param": error.param,
            "code": error.code or shape.code,
        }
    }


def error_headers(error: RequestError) -> dict[str, str]:
    """Retry-After in whole seconds, at least 1, where the error says when to come again.

    After a body that was not read to its end the connection is of no more use, so it is closed.
    """
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, BodyTooLarge):
        headers["connection"] = "close"
    return headers


def error_for_status(status: int, message: str) -> RequestError:
    """The error that stands for an HTTP status which the web framework itself decided on."""
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotFound(message)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(message)
        case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return BadRequest(message)
        case _:
            return InternalError(message)
