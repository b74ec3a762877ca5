"""What the account of a request keeps of each attempt."""

from __future__ import annotations

from proxy.conversation.events import Usage
from proxy.guard.attempt import Attempt, AttemptReader
from proxy.records.request_record import AttemptRecord


def record_of(attempt: Attempt, seconds: float, constrained: bool) -> AttemptRecord:
    """Of one that came to its end. constrained: decoding was asked to be constrained."""
    return AttemptRecord(
        attempt.verdict,
        attempt.fixes,
        attempt.problems,
        attempt.usage,
        seconds,
        constrained,
        unconstrained=attempt.unconstrained,
        asked=attempt.asked,
        text=attempt.written,
        repeated=attempt.repeated,
        tools=attempt.called,
    )


def record_of_rest(
    reader: AttemptReader | None, seconds: float, constrained: bool, error: str, asked: tuple[str, ...] = ()
) -> AttemptRecord:
    """Of one that was broken off, as far as it was read. asked: the deployments that were asked."""
    tokens, heard = (reader.tokens, reader.heard) if reader else (0, "")
    usage = Usage(completion_tokens=tokens)
    return AttemptRecord(None, (), (), usage, seconds, constrained, error, asked=asked, text=heard)
