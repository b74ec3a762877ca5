"""The stream of a message (https://platform.claude.com/docs/en/build-with-claude/streaming).

Order: message_start, ping; of each content block content_block_start, its deltas, content_block_stop;
message_delta with the stop reason, the usage and the verdict, a comment with the verdict, message_stop. A
stream that fails ends in an `error` event.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.codecs.anthropic_blocks import Signature, stop_object, usage_object
from proxy.codecs.anthropic_errors import error_object
from proxy.codecs.arguments import input_text
from proxy.codecs.base import Head
from proxy.codecs.verdict import verdict_comment, verdict_object
from proxy.conversation.errors import RequestError
from proxy.conversation.events import Event, Finish, RefusalDelta, Started, ToolCallReady, Usage
from repair.types import ReasoningDelta, TextDelta


class AnthropicStream:
    """The encoder of one stream. A block stays open until something of another kind comes."""

    media_type = "text/event-stream"

    def __init__(self, head: Head, request_id: str) -> None:
        self._head = head
        self._request_id = request_id
        self._begun = False
        self._blocks = 0
        self._open = ""  # the type of the open block
        self._signature = Signature()
        self._refused = False

    def open(self) -> bytes:
        return b""  # message_start holds the tokens of the prompt, which come soon, with Started

    def encode(self, event: Event) -> bytes:
        match event:
            case Started(prompt_tokens, cached_tokens):
                return self._begin(Usage(prompt_tokens or 0, 0, cached_tokens or 0))
            case TextDelta(text) if text:
                return self._begin() + self._text(text)
            case RefusalDelta(text) if text:
                self._refused = True
                return self._begin() + self._text(text)
            case ReasoningDelta(text) if text:
                return self._begin() + self._thinking(text)
            case ToolCallReady():
                return self._begin() + self._call(event)
            case _:
                return b""

    def keep_alive(self) -> bytes:
        return self._begin() + _event("ping")

    def close(self, finish: Finish) -> bytes:
        parts = [self._begin(), self._end_block()]
        if not self._blocks:  # clients look at the first block of a message
            parts += [self._start_block({"type": "text", "text": ""}), self._end_block()]
        usage, verdict = usage_object(finish.usage), verdict_object(finish)
        stop = stop_object(finish, self._refused)
        parts.append(_event("message_delta", delta=stop, usage=usage, fortieth=verdict))
        parts.append(verdict_comment(finish))
        parts.append(_event("message_stop"))
        return b"".join(parts)

    def fail(self, error: RequestError) -> bytes:
        told = error_object(error, self._request_id)
        return _event("error", **{name: value for name, value in told.items() if name != "type"})

    def _begin(self, usage: Usage | None = None) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message: dict[str, Any] = {
            "id": self._head.id,
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_object(usage or Usage()),
        }
        return _event("message_start", message=message) + _event("ping")

    def _text(self, text: str) -> bytes:
        before = b""
        if self._open != "text":
            before = self._end_block() + self._start_block({"type": "text", "text": ""})
        return before + self._delta({"type": "text_delta", "text": text})

    def _thinking(self, text: str) -> bytes:
        before = b""
        if self._open != "thinking":
            block = {"type": "thinking", "thinking": "", "signature": ""}
            before = self._end_block() + self._start_block(block)
            self._signature = Signature()
        self._signature.add(text)
        return before + self._delta({"type": "thinking_delta", "thinking": text})

    def _call(self, call: ToolCallReady) -> bytes:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": input_text(call.arguments)}
        return b"".join((self._end_block(), self._start_block(block), self._delta(delta), self._end_block()))

    def _start_block(self, block: dict[str, Any]) -> bytes:
        self._open = block["type"]
        self._blocks += 1
        return _event("content_block_start", index=self._blocks - 1, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def _end_block(self) -> bytes:
        if not self._open:
            return b""
        signed = b""
        if self._open == "thinking":
            signed = self._delta({"type": "signature_delta", "signature": str(self._signature)})
        self._open = ""
        return signed + _event("content_block_stop", index=self._blocks - 1)


def _event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), msgspec.json.encode({"type": type, **fields}))
