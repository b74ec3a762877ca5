"""The codec of OpenAI completions: https://platform.openai.com/docs/api-reference/completions.

The model goes on from a prompt as it stands, without a chat template. Beside them the tokens of prompts.
Order of a stream: with `echo` a chunk with each prompt; the texts as they come; of each choice a chunk with
finish_reason; then the usage chunk where asked for, a comment with the verdict, `[DONE]`. The field
`fortieth` stands where it does in a chat. A stream that fails ends in a chunk holding an error object and has
no `[DONE]`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.codecs.base import CodecRoute, Decoded, ErrorReply, Head, Operation, under_v1
from proxy.codecs.completion_logprobs import CompletionLogprobs
from proxy.codecs.openai_common import OpenAICodec, usage_object
from proxy.codecs.openai_completions_request import CompletionShape, decode_request
from proxy.codecs.openai_errors import error_object, status_of
from proxy.codecs.openai_schemas import COMPLETION, DETOKENIZE, TOKENIZE
from proxy.codecs.tokenize import TokenizeForm
from proxy.codecs.verdict import verdict_comment, verdict_object
from proxy.conversation.errors import RequestError
from proxy.conversation.events import Answer, Event, Finish, OfChoice, RefusalDelta, total
from proxy.conversation.logprobs import TextWithLogprobs
from proxy.conversation.model_card import ModelCard
from repair.types import TextDelta

_OBJECT = "text_completion"


class OpenAICompletions(OpenAICodec):
    """The codec of /v1/completions, /tokenize and /detokenize."""

    routes = (
        *under_v1(CodecRoute("POST", "/completions", Operation.answer, schema=COMPLETION)),
        *under_v1(CodecRoute("POST", "/tokenize", Operation.tokenize, form=TokenizeForm(), schema=TOKENIZE)),
        *under_v1(
            CodecRoute("POST", "/detokenize", Operation.detokenize, form=TokenizeForm(), schema=DETOKENIZE)
        ),
    )

    def decode(self, body: bytes) -> Decoded:
        return decode_request(body)

    def head(self, card: ModelCard, request_id: str) -> Head:
        return Head(f"cmpl-{secrets.token_hex(14)}", card.id, int(time.time()), card.fingerprint)

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        prompts = len(asked.request.prompts)
        finish = total([answer.finish for answer in answers], prompts)
        choices = [
            _choice_object(index, echo, answer)
            for index, (echo, answer) in enumerate(zip(_shape(asked).echoes, answers, strict=True))
        ]
        told = {"usage": usage_object(finish.usage), "fortieth": verdict_object(finish)}
        return msgspec.json.encode({**_envelope(head), "choices": choices, **told})

    def encode_stream(self, head: Head, asked: Decoded) -> CompletionStream:
        return CompletionStream(head, asked)

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        return ErrorReply(status_of(error), msgspec.json.encode(_error_object(error, asked)))

    def encode_count(self, tokens: int) -> bytes:
        return msgspec.json.encode({"object": f"{_OBJECT}.input_tokens", "input_tokens": tokens})


class CompletionStream:
    """The encoder of one stream."""

    media_type = "text/event-stream"

    def __init__(self, head: Head, asked: Decoded) -> None:
        shape = _shape(asked)
        self._asked = asked
        self._echoes = shape.echoes
        self._open = list(range(len(shape.echoes)))  # choices without a finish
        self._logprobs = [CompletionLogprobs() for _ in shape.echoes]
        self._include_usage = shape.include_usage
        self._envelope = _envelope(head)

    def open(self) -> bytes:
        return b"".join(self._chunk(index, echo) for index, echo in enumerate(self._echoes) if echo)

    def encode(self, event: Event) -> bytes:
        match event:
            case OfChoice(index, Finish() as finish):
                return self._finish(index, finish)
            case OfChoice(index, TextDelta(text) | RefusalDelta(text)):
                return self._chunk(index, text)
            case OfChoice(index, TextWithLogprobs() as text):
                return self._scored(index, text)
            case TextDelta(text) | RefusalDelta(text):
                return self._chunk(0, text)
            case TextWithLogprobs():
                return self._scored(0, event)
            case _:
                return b""  # of a raw prompt nothing else comes but Started

    def keep_alive(self) -> bytes:
        return self._chunk(self._open[0] if self._open else 0, "")

    def close(self, finish: Finish) -> bytes:
        parts = [self._finish(index, finish) for index in tuple(self._open)]
        if self._include_usage:
            told = {"usage": usage_object(finish.usage), "fortieth": verdict_object(finish)}
            parts.append(_event({**self._envelope, "choices": [], **told}))
        parts.append(verdict_comment(finish))
        parts.append(b"data: [DONE]\n\n")
        return b"".join(parts)

    def fail(self, error: RequestError) -> bytes:
        return _event(_error_object(error, self._asked))

    def _scored(self, index: int, event: TextWithLogprobs) -> bytes:
        return self._chunk(index, event.text, self._logprobs[index].object(event.tokens))

    def _finish(self, index: int, finish: Finish) -> bytes:
        self._open.remove(index)
        told = {} if self._include_usage else {"fortieth": verdict_object(finish)}
        return self._chunk(index, "", reason=finish.reason.value, **told)

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
        **told: Any,
    ) -> bytes:
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}
        usage = {"usage": None} if self._include_usage else {}
        return _event({**self._envelope, "choices": [choice], **usage, **told})


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _envelope(head: Head) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": _OBJECT,
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
    }


def _shape(asked: Decoded) -> CompletionShape:
    assert isinstance(asked.shape, CompletionShape)
    return asked.shape


def _choice_object(index: int, echo: str, answer: Answer) -> dict[str, Any]:
    return {
        "text": echo + answer.content + answer.refusal,
        "index": index,
        "logprobs": CompletionLogprobs().object(answer.scores),
        "finish_reason": answer.finish.reason.value,
    }


def _error_object(error: RequestError, asked: Decoded | None) -> dict[str, Any]:
    """What lies in the messages of a conversation lies in the prompt here."""
    told = error_object(error)
    if asked is not None and told["error"]["param"] == "messages":
        told["error"]["param"] = "prompt"
    return told
