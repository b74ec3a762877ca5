"""Every failure that the server or its command line can report, as one tree.

FortiethError
├── StartError                    the server cannot start: one line on stderr, exit code 1
│   └── SettingsError             a flag, variable or file holds something that is no setting
└── RequestError                  one request fails: each dialect has a table of how it tells that
    ├── BadRequest                a field has the wrong type or value; `param` names it
    │   ├── BadBody               the body is no JSON object at all
    │   │   └── UnsupportedEncoding it is compressed in a way that the server does not read
    │   ├── BadTool               a tool's parameters are no usable JSON Schema
    │   └── ContextTooLong        the prompt leaves no room in the model's context
    │       └── ContextRefused    an upstream says so, in its own words
    ├── BodyTooLarge              more bytes than the server reads
    ├── BodyTooSlow               the client stopped sending its body
    ├── Unauthorized              no or a wrong API key
    ├── PaymentRequired           an upstream wants money first
    ├── Forbidden                 the key may not do this
    ├── NotFound                  no such route
    │   └── ModelNotFound         no such model
    ├── MethodNotAllowed          the route exists, the method does not
    ├── Overloaded                the queue is full; worth trying again
    │   └── RateLimited           an upstream says that it is asked too often
    ├── UpstreamUnavailable       the model cannot answer now; worth trying again
    ├── RequestTimeout            it took longer than it may
    │   └── UpstreamTimeout       the upstream was silent for too long
    ├── CallFailed                the model's tool call could not be saved, and an error was asked for
    └── InternalError             a defect of ours; the log has the traceback
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

R = TypeVar("R")


class FortiethError(Exception):
    """The root of the tree. str(error) is the message for the person who reads it."""


class StartError(FortiethError):
    """The server cannot start. The message says what was tried and what was got."""


class SettingsError(StartError):
    """A setting is unknown or has a wrong value. The message names the setting and where it stood."""


class RequestError(FortiethError):
    """One request fails.

    param: the field's path, such as `messages[2].content`.
    code: an upstream's own name for the failure, where it gave one.
    retry_after_s: seconds after which the same request may succeed, where they are known.
    asked: the deployments of an upstream that were asked before it failed; for the record, not for the
        client.
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


class UnsupportedEncoding(BadBody):
    """name: of the content encoding, as the client wrote it. readable: names of those that can be read."""

    def __init__(self, name: str, readable: Sequence[str]) -> None:
        super().__init__(
            f"a body with the content encoding {name[:40]!r} cannot be read here, only {', '.join(readable)}"
        )
        self.readable = tuple(readable)


class BadTool(BadRequest):
    """A tool's parameters are not a usable JSON Schema.

    tool: the tool's name, by which a codec finds its declaration in the client's request.
    """

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"not a usable JSON Schema for tool {tool!r}: {reason}", param="tools")
        self.tool = tool


class ContextTooLong(BadRequest):
    """The prompt leaves no room in the context. The message holds the phrases by which agents know that they
    must compact their history.

    estimated: the tokens were not all counted, because the prompt is far too long.
    """

    def __init__(self, tokens: int, context_length: int, *, estimated: bool = False) -> None:
        counted = " They were estimated from the beginning of the prompt." if estimated else ""
        super().__init__(
            f"prompt is too long: {tokens} tokens > {context_length - 1} maximum. "
            f"This model's maximum context length is {context_length} tokens. However, your messages "
            f"resulted in {tokens} tokens.{counted} Please reduce the length of the messages.",
            param="messages",
        )


class ContextRefused(ContextTooLong):
    """An upstream says that the prompt is too long.

    said: its message.
    numbers: the tokens of the prompt and the most that it may have, where the message tells them.
    """

    def __init__(self, said: str, numbers: tuple[int, int] | None = None) -> None:
        counted = f"{numbers[0]} tokens > {numbers[1]} maximum. " if numbers else ""
        super(ContextTooLong, self).__init__(f"prompt is too long: {counted}{said}", param="messages")


class BodyTooLarge(RequestError):
    pass


class BodyTooSlow(RequestError):
    """The client stopped sending its body, or sends it for too long."""


class Unauthorized(RequestError):
    pass


class PaymentRequired(RequestError):
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


class RateLimited(Overloaded):
    pass


class UpstreamUnavailable(RequestError):
    pass


class RequestTimeout(RequestError):
    """The request took longer than it may. limit_s: what the server or the client set."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the request was not finished within {limit_s:g} s")


class UpstreamTimeout(RequestTimeout):
    """An upstream was silent for too long. said: which one, and what was waited for."""

    def __init__(self, said: str) -> None:
        super(RequestTimeout, self).__init__(said)


class CallFailed(RequestError):
    """The calls of a turn could not be saved. problems: why they cannot be executed, as `place: reason`."""

    def __init__(self, problems: Sequence[str], attempts: int) -> None:
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"the model was asked {times} and made no tool call that can be executed: {'; '.join(problems)}"
        )


class InternalError(RequestError):
    pass


def row_of(error: RequestError, table: Mapping[type[RequestError], R]) -> R:
    """The row of a dialect's table for this error: that of its own class, else of the nearest class above."""
    return next(table[cls] for cls in type(error).__mro__ if cls in table)


def error_for_status(status: int, message: str) -> RequestError:
    """The error for an HTTP status that the web framework itself decided on."""
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotFound(message)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(message)
        case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return BadRequest(message)
        case _:
            return InternalError(message)
