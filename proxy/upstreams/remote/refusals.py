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
    PaymentRequired,
    RateLimited,
    RequestError,
    Unauthorized,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.upstreams.remote.overflow import says_too_long, token_numbers
from proxy.upstreams.remote.surrogates import whole_characters

_MAX_CHARS = 600
_MAX_READ = 4000
_DEFAULT_RETRY_S = 2.0
_RATES = ("rate_limit_exceeded",)
# With which servers say that a prompt is too long, where they give no code for it; 0 stands for a stream.
_OF_PROMPTS = (0, 400, 413, 422, 500)
_LEAD = re.compile(r"^(litellm\.)?[A-Za-z]*(Error|Exception|Timeout):?\s*-?\s*")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of an upstream.

    kind: the name of the exception's class.
    status: 0 where there was no response.
    headers: of the response, with names in lower case.
    code, param: the server's own, where it gave them.
    """

    kind: str
    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    param: str | None = None


def refusal(failure: Failure, upstream: str, secrets: tuple[str, ...] = ()) -> RequestError:
    """The error for the client. upstream: its name for the client. secrets: texts that are never shown."""
    said = _clean(failure.message, secrets)
    told = f"upstream {upstream}: {said}"
    retry = _retry_after(failure.headers)
    if failure.kind == "ContextWindowExceededError" or (
        failure.status in _OF_PROMPTS
        and failure.code not in _RATES
        and says_too_long(failure.message[:_MAX_READ])
    ):
        return ContextRefused(told, token_numbers(failure.message[:_MAX_READ]))
    if failure.code in _RATES and failure.status in (0, 400, 413, 422, 429):
        return RateLimited(told, code=failure.code, retry_after_s=retry or _DEFAULT_RETRY_S)
    match failure.status:
        case 401:
            return Unauthorized(told)
        case 402:
            return PaymentRequired(told)  # by one code, whatever the upstream calls it
        case 403:
            return Forbidden(told)
        case 404:
            return ModelNotFound(told, param="model")
        case 408 | 504:
            return UpstreamTimeout(told)
        case 429:
            return RateLimited(told, retry_after_s=retry or _DEFAULT_RETRY_S)
        case 400 | 413 | 422:
            code = "content_filter" if failure.kind == "ContentPolicyViolationError" else failure.code
            return BadRequest(told, code=code, param=failure.param)
        case _:
            return UpstreamUnavailable(told, retry_after_s=retry or _DEFAULT_RETRY_S)


def _clean(message: str, secrets: tuple[str, ...]) -> str:
    """The upstream's own message: without the names of classes that wrapped it, bounded, and without keys."""
    message = whole_characters(message)
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
