"""For how long a client wants its prefix to be kept, by the marks that it puts into a request.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.conversation.message import (
    MediaPart,
    Part,
    PastCall,
    ReasoningPart,
    ResultPart,
    TextPart,
    UnknownPart,
)
from proxy.conversation.request import ChatRequest

_MARK = "cache_control"
_TTL_S = {"5m": 300.0, "1h": 3600.0}


def wanted_keep_s(request: ChatRequest) -> float:
    """Seconds after the last use: the longest `ttl` of a `cache_control` in the tools or the messages, else
    0.
    """
    return max((_seconds(place.get(_MARK)) for place in _places(request)), default=0.0)


def _seconds(mark: Any) -> float:
    ttl = mark.get("ttl") if isinstance(mark, Mapping) else None
    return _TTL_S.get(ttl, 0.0) if isinstance(ttl, str) else 0.0


def _places(request: ChatRequest) -> Iterator[Mapping[str, Any]]:
    yield from request.tool_extra.values()
    for message in request.messages:
        yield message.extra
        for part in message.parts:
            yield from _of_part(part)


def _of_part(part: Part) -> Iterator[Mapping[str, Any]]:
    match part:
        case TextPart() | PastCall():
            yield part.extra
        case MediaPart():
            yield part.part
        case ResultPart():
            for inner in part.parts:
                yield from _of_part(inner)
        case ReasoningPart() | UnknownPart():
            pass
