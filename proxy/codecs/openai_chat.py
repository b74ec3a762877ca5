"""The codec of OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat.

Order of a stream: for each choice a chunk with the role, text and reasoning as they come, each call as a
chunk that opens it and one with its arguments, the chunk with finish_reason; then the usage chunk where asked
for, a comment with the verdict, `[DONE]`. The field `fortieth` stands in the usage chunk, else in the chunk
with finish_reason, of each choice its own. A stream that fails ends in a chunk holding an error object and
has no `[DONE]`. A client that declared `functions` gets its call as `function_call`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.codecs.base import CodecRoute, Decoded, ErrorReply, Head, Operation, under_v1
from proxy.codecs.custom_tools import custom_input
from proxy.codecs.openai_common import OpenAICodec, logprobs_object, usage_object
from proxy.codecs.openai_errors import error_object, status_of
from proxy.codecs.openai_request import ChatShape, decode_request
from proxy.codecs.openai_schemas import CHAT
from proxy.codecs.verdict import verdict_comment, verdict_object
from proxy.conversation.errors import RequestError
from proxy.conversation.events import (
    Answer,
    AnswerExtra,
    AnswerPart,
    Event,
    Finish,
    FinishReason,
    OfChoice,
    RefusalDelta,
    Started,
    ToolCallReady,
    total,
)
from proxy.conversation.logprobs import Logprobs, TextWithLogprobs
from proxy.conversation.model_card import ModelCard
from repair.types import ReasoningDelta, TextDelta

_CHUNK_END = b"}\n\n"
# the field of what a call is called with, by the type of its tool
_TEXT = {"function": "arguments", "custom": "input"}


class OpenAIChat(OpenAICodec):
    """The codec of /v1/chat/completions."""

    routes = (
        *under_v1(CodecRoute("POST", "/chat/completions", Operation.answer, schema=CHAT)),
        *under_v1(CodecRoute("POST", "/chat/completions/input_tokens", Operation.count_tokens, schema=CHAT)),
        *under_v1(CodecRoute("GET", "/models", Operation.models)),
        *under_v1(CodecRoute("GET", "/models/{model_id:path}", Operation.model)),
    )

    def decode(self, body: bytes) -> Decoded:
        return decode_request(body)

    def head(self, card: ModelCard, request_id: str) -> Head:
        return Head(f"chatcmpl-{secrets.token_hex(14)}", card.id, int(time.time()), card.fingerprint)

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        finish = total([answer.finish for answer in answers])
        return msgspec.json.encode(
            {
                "id": head.id,
                "object": "chat.completion",
                "created": head.created,
                "model": head.model,
                "system_fingerprint": head.fingerprint,
                "choices": [_choice_object(i, answer, asked) for i, answer in enumerate(answers)],
                "usage": usage_object(finish.usage),
                "fortieth": verdict_object(finish),
            }
        )

    def encode_stream(self, head: Head, asked: Decoded) -> OpenAIChatStream:
        return OpenAIChatStream(head, asked)

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        paths = _shape(asked).tool_paths if asked is not None else None
        return ErrorReply(status_of(error), msgspec.json.encode(error_object(error, paths)))

    def encode_count(self, tokens: int) -> bytes:
        return msgspec.json.encode({"object": "chat.completion.input_tokens", "input_tokens": tokens})


class OpenAIChatStream:
    """The encoder of one stream. Chunks are joined from parts: all but the delta is the same each time."""

    media_type = "text/event-stream"

    def __init__(self, head: Head, asked: Decoded) -> None:
        shape, count = _shape(asked), asked.request.n
        self._include_usage = shape.include_usage
        self._legacy, self._custom = shape.legacy_functions, shape.custom
        self._tool_paths = shape.tool_paths
        self._open = list(range(count))  # choices without a finish
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
        self._before = [
            self._envelope + b',"choices":[{"index":%d,"delta":' % index for index in range(count)
        ]
        self._after = b"]" + (b',"usage":null' if shape.include_usage else b"") + _CHUNK_END

    def open(self) -> bytes:
        delta = b'{"role":"assistant","content":"","refusal":null}'
        return b"".join(self._chunk(index, delta) for index in self._open)

    def encode(self, event: Event) -> bytes:
        match event:
            case OfChoice(index, inner):
                return self._finish(index, inner) if isinstance(inner, Finish) else self._delta(index, inner)
            case Finish():
                return self.close(event)
            case Started() | Logprobs():
                return b""
            case _:
                return self._delta(0, event)

    def _delta(self, index: int, event: AnswerPart) -> bytes:
        match event:
            case TextDelta(text):
                return self._chunk(index, b'{"content":' + msgspec.json.encode(text) + b"}")
            case TextWithLogprobs(text, tokens):
                scores = msgspec.json.encode(logprobs_object(tokens))
                return self._chunk(index, b'{"content":' + msgspec.json.encode(text) + b"}", logprobs=scores)
            case ReasoningDelta(text):
                return self._chunk(index, b'{"reasoning_content":' + msgspec.json.encode(text) + b"}")
            case RefusalDelta(text):
                return self._chunk(index, b'{"refusal":' + msgspec.json.encode(text) + b"}")
            case AnswerExtra(fields):
                return self._chunk(index, msgspec.json.encode(fields))
            case ToolCallReady():
                return b"".join(self._chunk(index, delta) for delta in self._call(event))

    def _call(self, call: ToolCallReady) -> tuple[bytes, bytes]:
        """The delta that opens the call, and the one with what it is called with."""
        kind, text = _told(call, self._custom)
        key = _TEXT[kind]
        opening, rest = {"name": call.name, key: ""}, {key: text}
        if self._legacy:
            return (
                msgspec.json.encode({"function_call": opening}),
                msgspec.json.encode({"function_call": rest}),
            )
        head = {**call.extra, "index": call.index, "id": call.id, "type": kind, kind: opening}
        tail = {"index": call.index, kind: rest}
        return msgspec.json.encode({"tool_calls": [head]}), msgspec.json.encode({"tool_calls": [tail]})

    def keep_alive(self) -> bytes:
        return self._chunk(self._open[0] if self._open else 0, b'{"content":""}')

    def close(self, finish: Finish) -> bytes:
        parts = [self._finish(index, finish) for index in tuple(self._open)]
        if self._include_usage:
            usage = msgspec.json.encode(usage_object(finish.usage))
            parts.append(self._envelope + b',"choices":[],"usage":' + usage + _verdict(finish) + _CHUNK_END)
        parts.append(verdict_comment(finish))
        parts.append(b"data: [DONE]\n\n")
        return b"".join(parts)

    def fail(self, error: RequestError) -> bytes:
        return b"data: " + msgspec.json.encode(error_object(error, self._tool_paths)) + b"\n\n"

    def _finish(self, index: int, finish: Finish) -> bytes:
        self._open.remove(index)
        last = self._chunk(index, b"{}", reason=msgspec.json.encode(_reason(finish, self._legacy)))
        if self._include_usage:  # the verdict stands beside the usage
            return last
        return last.removesuffix(_CHUNK_END) + _verdict(finish) + _CHUNK_END

    def _chunk(self, index: int, delta: bytes, reason: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        before = self._before[index] + delta
        return before + b',"logprobs":' + logprobs + b',"finish_reason":' + reason + b"}" + self._after


def _verdict(finish: Finish) -> bytes:
    """The last field of a chunk."""
    return b',"fortieth":' + msgspec.json.encode(verdict_object(finish))


def _shape(asked: Decoded) -> ChatShape:
    assert isinstance(asked.shape, ChatShape)
    return asked.shape


def _choice_object(index: int, answer: Answer, asked: Decoded) -> dict[str, Any]:
    legacy = _shape(asked).legacy_functions
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.content or (None if answer.calls or answer.refusal else ""),
        "refusal": answer.refusal or None,
        **answer.extra,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls and legacy:
        message["function_call"] = _call_object(answer.calls[0], frozenset())["function"]
    elif answer.calls:
        message["tool_calls"] = [_call_object(call, _shape(asked).custom) for call in answer.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_object(answer.scores),
        "finish_reason": _reason(answer.finish, legacy),
    }


def _reason(finish: Finish, legacy: bool) -> str:
    if legacy and finish.reason is FinishReason.tool_calls:
        return "function_call"
    return finish.reason.value


def _told(call: ToolCallReady, custom: frozenset[str]) -> tuple[str, str]:
    """The type of a call, and what it is called with."""
    return ("custom", custom_input(call.arguments)) if call.name in custom else ("function", call.arguments)


def _call_object(call: ToolCallReady, custom: frozenset[str]) -> dict[str, Any]:
    kind, text = _told(call, custom)
    return {**call.extra, "id": call.id, "type": kind, kind: {"name": call.name, _TEXT[kind]: text}}
