"""OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat.

Order of a stream: a chunk with the role, text and reasoning as they come, each call as a chunk that opens it
and one with its arguments, the chunk with finish_reason, the usage chunk where asked for, a comment with
the verdict, `[DONE]`. A stream that fails ends in a chunk holding an error object and has no `[DONE]`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.chat import Answer, ChatRequest, Event, Finish, ToolCallReady, Usage
from proxy.codecs.base import Head
from proxy.codecs.openai_request import decode_request
from proxy.errors import RequestError, error_object
from repair.types import ReasoningDelta, TextDelta


class OpenAIChat:
    """The codec of /v1/chat/completions."""

    def decode(self, body: bytes) -> ChatRequest:
        return decode_request(body)

    def encode_answer(self, head: Head, answer: Answer) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if answer.calls and not answer.content else answer.content,
            "refusal": None,
        }
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [_call_object(call) for call in answer.calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": answer.finish.reason.value,
        }
        return msgspec.json.encode(
            {
                "id": head.id,
                "object": "chat.completion",
                "created": head.created,
                "model": head.model,
                "system_fingerprint": head.fingerprint,
                "choices": [choice],
                "usage": _usage_object(answer.finish.usage),
            }
        )

    def encode_stream(self, head: Head, request: ChatRequest) -> OpenAIChatStream:
        return OpenAIChatStream(head, request.include_usage)


class OpenAIChatStream:
    """The encoder of one stream. Chunks are joined from parts: all but the delta is the same each time."""

    def __init__(self, head: Head, include_usage: bool) -> None:
        self._include_usage = include_usage
        envelope = msgspec.json.encode(
            {
                "id": head.id,
                "object": "chat.completion.chunk",
                "created": head.created,
                "model": head.model,
                "system_fingerprint": head.fingerprint,
            }
        )
        self._envelope = b"data: " + envelope[:-1]
        self._before = self._envelope + b',"choices":[{"index":0,"delta":'
        self._after = b"]" + (b',"usage":null' if include_usage else b"") + b"}\n\n"

    def open(self) -> bytes:
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return self._chunk(b'{"content":' + msgspec.json.encode(text) + b"}")
            case ReasoningDelta(text):
                return self._chunk(b'{"reasoning_content":' + msgspec.json.encode(text) + b"}")
            case ToolCallReady():
                return self._call(event)
            case Finish():
                return self.close(event)

    def keep_alive(self) -> bytes:
        return self._chunk(b'{"content":""}')

    def close(self, finish: Finish) -> bytes:
        parts = [self._chunk(b"{}", msgspec.json.encode(finish.reason.value))]
        if self._include_usage:
            usage = msgspec.json.encode(_usage_object(finish.usage))
            parts.append(self._envelope + b',"choices":[],"usage":' + usage + b"}\n\n")
        counts = f"fixes={finish.fixes}; attempts={finish.attempts}"
        parts.append(f": x-fortieth-verdict: {finish.verdict}; {counts}\n\n".encode())
        parts.append(b"data: [DONE]\n\n")
        return b"".join(parts)

    def fail(self, error: RequestError) -> bytes:
        return b"data: " + msgspec.json.encode(error_object(error)) + b"\n\n"

    def _call(self, call: ToolCallReady) -> bytes:
        whole = _call_object(call)
        arguments = {"index": call.index, "function": {"arguments": call.arguments}}
        opening = {"index": call.index, **whole, "function": {"name": call.name, "arguments": ""}}
        return b"".join(
            self._chunk(msgspec.json.encode({"tool_calls": [part]})) for part in (opening, arguments)
        )

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        return self._before + delta + b',"logprobs":null,"finish_reason":' + reason + b"}" + self._after


def _call_object(call: ToolCallReady) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
