"""Answers of Ollama's API: one JSON object, or one a line (https://docs.ollama.com/api/streaming).

Order of a stream: thinking, text and whole calls as they come, and the object with `done`, the counts and the
verdict. A stream that fails ends in a line holding an error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy.codecs.arguments import input_text
from proxy.codecs.base import Decoded, Head
from proxy.codecs.ollama_errors import error_object
from proxy.codecs.ollama_request import OllamaShape
from proxy.codecs.openai_common import logprob_objects
from proxy.codecs.verdict import verdict_object
from proxy.conversation.errors import RequestError
from proxy.conversation.events import Answer, Event, Finish, FinishReason, RefusalDelta, ToolCallReady
from proxy.conversation.logprobs import TextWithLogprobs
from repair.types import ReasoningDelta, TextDelta

# Ollama knows two reasons; who looks for calls finds them in the message.
_REASONS = {FinishReason.length: "length"}
_LOADED = "load"
# Line ends to some readers of lines, and in JSON text only inside of strings.
_LINE_ENDS = {mark.encode(): b"\\u%04x" % ord(mark) for mark in "\x85\u2028\u2029"}


def shape_of(asked: Decoded | None) -> OllamaShape:
    """A plain one where the request could not be decoded."""
    return asked.shape if asked is not None and isinstance(asked.shape, OllamaShape) else OllamaShape()


def whole_answer(head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
    """answers: none where the client asked for none, which loads a model that is not loaded yet."""
    shape = shape_of(asked)
    if not answers:
        return line({**_part(head, shape), "done": True, "done_reason": _LOADED})
    (answer,) = answers
    took_ns = time.monotonic_ns() - shape.begun_ns
    scores = {"logprobs": logprob_objects(answer.scores)} if answer.scores else {}
    return line(
        {
            **_part(head, shape, answer.content + answer.refusal, answer.reasoning, answer.calls),
            **scores,
            **_end(answer.finish, took_ns, took_ns),
            "fortieth": verdict_object(answer.finish),
        }
    )


class OllamaStream:
    """The encoder of one stream."""

    media_type = "application/x-ndjson"

    def __init__(self, head: Head, asked: Decoded) -> None:
        self._head = head
        self._shape = shape_of(asked)
        self._first_ns = 0  # when the first token came; a call comes with its last one

    def open(self) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text) | RefusalDelta(text) if text:
                return self._told(text)
            case TextWithLogprobs(text, tokens):
                return self._told(text, logprobs=logprob_objects(tokens))
            case ReasoningDelta(text) if text:
                return self._told(thinking=text)
            case ToolCallReady():
                return self._told(calls=(event,))
            case _:
                return b""

    def keep_alive(self) -> bytes:
        return line({**_part(self._head, self._shape), "done": False})

    def close(self, finish: Finish) -> bytes:
        now_ns = time.monotonic_ns()
        first_ns = self._first_ns or self._shape.begun_ns
        end = _end(finish, now_ns - self._shape.begun_ns, now_ns - first_ns)
        return line({**_part(self._head, self._shape), **end, "fortieth": verdict_object(finish)})

    def fail(self, error: RequestError) -> bytes:
        return line(error_object(error, self._shape.tool_paths))

    def _told(
        self, text: str = "", thinking: str = "", calls: Sequence[ToolCallReady] = (), **others: Any
    ) -> bytes:
        if text or thinking:
            self._first_ns = self._first_ns or time.monotonic_ns()
        return line({**_part(self._head, self._shape, text, thinking, calls), **others, "done": False})


def line(value: Mapping[str, Any]) -> bytes:
    """One object without a line end inside, whatever its reader takes for one."""
    encoded = msgspec.json.encode(value)
    for mark, escape in _LINE_ENDS.items():
        if mark in encoded:
            encoded = encoded.replace(mark, escape)
    return encoded + b"\n"


def timestamp(seconds: float) -> str:
    """RFC 3339. seconds: since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _part(
    head: Head,
    shape: OllamaShape,
    text: str = "",
    thinking: str = "",
    calls: Sequence[ToolCallReady] = (),
) -> dict[str, Any]:
    """What an object has beside `done`: a message, or a text with the same beside it."""
    told: dict[str, Any] = {"role": "assistant", "content": text} if shape.as_message else {"response": text}
    if thinking:
        told["thinking"] = thinking
    if calls:
        told["tool_calls"] = [_call_object(call) for call in calls]
    named = {"model": shape.name or head.model, "created_at": timestamp(time.time())}
    return {**named, "message": told} if shape.as_message else {**named, **told}


def _call_object(call: ToolCallReady) -> dict[str, Any]:
    """Arguments may be written over several lines: outside of strings, where a space means the same."""
    given = input_text(call.arguments).replace("\n", " ").replace("\r", " ")
    function = {"index": call.index, "name": call.name, "arguments": msgspec.Raw(given.encode())}
    return {"id": call.id, "function": function}


def _end(finish: Finish, total_ns: int, eval_ns: int) -> dict[str, Any]:
    """eval_ns: from the first token on; all of the time where that moment is not known."""
    return {
        "done": True,
        "done_reason": _REASONS.get(finish.reason, "stop"),
        "total_duration": total_ns,
        "load_duration": 0,
        "prompt_eval_count": finish.usage.prompt_tokens,
        "prompt_eval_duration": total_ns - eval_ns,
        "eval_count": finish.usage.completion_tokens,
        "eval_duration": eval_ns,
    }
