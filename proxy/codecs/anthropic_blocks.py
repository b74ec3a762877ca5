"""Parts of Anthropic's answers, whole and streamed alike: usage, stop reason, blocks of signed thinking.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from proxy.conversation.events import Finish, FinishReason, Usage

_STOP_REASONS = {
    FinishReason.stop: "end_turn",
    FinishReason.length: "max_tokens",
    FinishReason.tool_calls: "tool_use",
    FinishReason.content_filter: "refusal",
}
_SIGNED_BY = b"fortieth\0"
_OWN_SIGNATURE = base64.b64encode(_SIGNED_BY).decode()


def usage_object(usage: Usage) -> dict[str, Any]:
    """input_tokens are those that were not in the cache; with the cached ones they make up the prompt. What a
    prompt adds to the cache is not counted apart: nothing is charged for it.
    """
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        **({} if usage.cost is None else {"cost": usage.cost}),
    }


def stop_object(finish: Finish, refused: bool) -> dict[str, Any]:
    """Why the answer ended, as a message and as the delta at its end tell it. refused: it holds a refusal."""
    reason = "refusal" if refused else _STOP_REASONS[finish.reason]
    if not refused and finish.reason is FinishReason.stop and finish.stop_sequence is not None:
        reason = "stop_sequence"
    return {
        "stop_reason": reason,
        "stop_sequence": finish.stop_sequence if reason == "stop_sequence" else None,
    }


class Signature:
    """What a thinking block is signed with: opaque to clients, the digest of its text."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, text: str) -> None:
        self._digest.update(text.encode("utf-8", "replace"))

    def __str__(self) -> str:
        return base64.b64encode(_SIGNED_BY + self._digest.digest()).decode()


def sign(text: str) -> str:
    signature = Signature()
    signature.add(text)
    return str(signature)


def is_own(signature: str) -> bool:
    """Whether it is one of ours, which no upstream could read."""
    return signature.startswith(_OWN_SIGNATURE)
