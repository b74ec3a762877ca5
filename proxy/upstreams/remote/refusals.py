"""Translates an upstream's failure, by status, message and `Retry-After`, to an error of our tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from proxy.conversation.errors import (
    BadRequest,
    ContextRefused,
    Forbidden,
    ModelNotFound,
    RateLimited,
    RequestError,
    Unauthorized,
    UpstreamTimeout,
    UpstreamUnavailable,
)

_MAX_CHARS = 600
_DEFAULT_RETRY_S = 2.0
# How servers say that a prompt is too long, where they give no code for it.
_TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size|limit)|prompt is too long|maximum.{0,20}tokens|input.{0,20}too long",
    re.IGNORECASE,
)
# Where they say how long it is, and how long it may be.
_NUMBERS = (
    re.compile(r"(?P<tokens>\d+) tokens > (?P<limit>\d+)"),
    re.compile(r"maximum context length (?:is|of) (?P<limit>\d+)\D{0,90}?(?P<tokens>\d+)", re.IGNORECASE),
    re.compile(
        r"context (?:size|window|length)\D{0,20}(?P<limit>\d+)[^\d]{0,60}(?P<tokens>\d+)", re.IGNORECASE
    ),
    re.compile(
        r"(?P<tokens>\d+) tokens?\D{0,60}context (?:size|window|length)\D{0,20}(?P<limit>\d+)", re.IGNORECASE
    ),
)
_LEAD = re.compile(r"^(litellm\.)?[A-Za-z]*(Error|Exception|Timeout):?\s*-?\s*")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of an upstream.

    kind: the name of the exception's class.
    status: 0 where there was no response.
    headers: of the response, with names in lower case.
    """

    kind: str
    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(failure: Failure, upstream: str, secrets: tuple[str, ...] = ()) -> RequestError:
    """The error for the client. upstream: its name for the client. secrets: texts that are never shown."""
    said = _clean(failure.message, secrets)
    told = f"upstream {upstream}: {said}"
    retry = _retry_after(failure.headers)
    if failure.kind == "ContextWindowExceededError" or (failure.status == 400 and _TOO_LONG.search(said)):
        return ContextRefused(told, _numbers(said))
    match failure.status:
        case 401:
            return Unauthorized(told)
        case 403:
            return Forbidden(told)
        case 404:
            return ModelNotFound(told, param="model")
        case 408 | 504:
            return UpstreamTimeout(told)
        case 429:
            return RateLimited(told, retry_after_s=retry or _DEFAULT_RETRY_S)
        case 400 | 413 | 422:
            code = "content_filter" if failure.kind == "ContentPolicyViolationError" else None
            return BadRequest(told, code=code)
        case _:
            return UpstreamUnavailable(told, retry_after_s=retry or _DEFAULT_RETRY_S)


def _numbers(said: str) -> tuple[int, int] | None:
    """The tokens of the prompt and the most that it may have; None where they are not told."""
    for pattern in _NUMBERS:
        found = pattern.search(said)
        if found and int(found["tokens"]) > int(found["limit"]):
            return int(found["tokens"]), int(found["limit"])
    return None


def _clean(message: str, secrets: tuple[str, ...]) -> str:
    """The upstream's own message: without the names of classes that wrapped it, bounded, and without keys."""
    for secret in secrets:
        message = message.replace(secret, "***")
    while (lead := _LEAD.match(message)) and lead.end():
        message = message[lead.end() :]
    message = message.strip() or "it failed without a message"
    return message if len(message) <= _MAX_CHARS else message[:_MAX_CHARS] + " …"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The value of Retry-After in seconds, from a number or a date."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return seconds if 0 < seconds < 86_400 else None
