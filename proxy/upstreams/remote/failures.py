"""Reads what a server says where it refuses a request or breaks off its answer, in its many forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.upstreams.remote.overflow import OVERFLOWS
from proxy.upstreams.remote.refusals import Failure
from proxy.upstreams.remote.surrogates import whole_characters

_FILTERED = ("content_filter", "content_policy_violation")
# Where servers put the reason, in order.
_REASONS = ("message", "detail", "error", "errors", "msg", "error_msg", "error_message")
_DEEP = 5


class ServerFailed(Exception):
    """A server refused a request, or broke off its answer. failure: what it said."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def read_failure(status: int, said: Any, headers: Mapping[str, str]) -> Failure:
    """The failure in a response. status: 0 in a stream, where the error itself may tell it. said: the parsed
    body.
    """
    if isinstance(said, list) and said and isinstance(said[0], dict):
        said = said[0]  # Gemini's form
    error = said.get("error", said) if isinstance(said, dict) else said
    if not isinstance(error, dict):
        beside = said if isinstance(said, dict) else {}
        return Failure("", status, str(error), headers, _code(beside, status))
    told = (error.get("code"), error.get("status_code"), error.get("status"))
    numbers = [one for one in told if isinstance(one, int) and 400 <= one < 600]
    if not status and numbers:
        status = numbers[0]
    code = _code(error, status)
    kind = "ContentPolicyViolationError" if code in _FILTERED else ""
    if OVERFLOWS & {code, str(error.get("type"))}:
        kind = "ContextWindowExceededError"
    param = error.get("param")
    param = whole_characters(param) if isinstance(param, str) and param else None
    return Failure(kind, status, _message(error), headers, code, param)


def _code(error: Mapping[str, Any], status: int) -> str | None:
    """The server's own name for the failure; one that says no more than the status is none."""
    value = error.get("code")
    if isinstance(value, int) and not isinstance(value, bool) and value:
        value = str(value)
    return whole_characters(value) if isinstance(value, str) and value and value != str(status) else None


def _message(error: Mapping[str, Any]) -> str:
    """The reason, with what a server behind the server said: a gateway tells it deeper inside."""
    for key in _REASONS:
        value = error.get(key)
        if value and isinstance(value, str):
            inner = [one for one in _inner(error, _DEEP) if one not in value]
            return "; ".join([value, *inner])
        if value:
            return json.dumps(value)
    return json.dumps(error)


def _inner(value: Any, depth: int) -> Iterator[str]:
    """Messages inside of `details`, `metadata` and the like."""
    if not depth or not isinstance(value, dict):
        return
    for key in ("details", "metadata", "response", "error", "innererror", "raw"):
        inner = value.get(key)
        if key == "raw" and isinstance(inner, str) and inner.lstrip()[:1] == "{":
            try:
                inner = json.loads(inner)
            except (ValueError, RecursionError):
                yield inner[:500]
                continue
        if not isinstance(inner, dict):
            continue
        message = inner.get("message")
        if isinstance(message, str) and message:
            yield message
        yield from _inner(inner, depth - 1)
