"""The codec of Anthropic Messages: https://platform.claude.com/docs/en/api/messages.

An answer holds thinking where the request asks for it, text, then the calls. Paths that OpenAI's API has too
are told apart by the headers that Anthropic's clients send.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy.codecs.anthropic_blocks import sign, stop_object, usage_object
from proxy.codecs.anthropic_errors import error_object, status_of
from proxy.codecs.anthropic_request import MessagesShape, decode_request
from proxy.codecs.anthropic_schemas import MESSAGES
from proxy.codecs.anthropic_stream import AnthropicStream
from proxy.codecs.arguments import input_text
from proxy.codecs.base import CodecRoute, Decoded, ErrorReply, Head, Operation, under_v1
from proxy.codecs.verdict import verdict_object
from proxy.conversation.errors import RequestError
from proxy.conversation.events import Answer
from proxy.conversation.model_card import ModelCard

_REQUEST_ID = "request-id"
_OWN_HEADERS = ("anthropic-version", "anthropic-beta")


class Anthropic:
    """The codec of /v1/messages."""

    routes = (
        *under_v1(CodecRoute("POST", "/messages", Operation.answer, schema=MESSAGES)),
        *under_v1(CodecRoute("POST", "/messages/count_tokens", Operation.count_tokens, schema=MESSAGES)),
        *under_v1(CodecRoute("GET", "/models", Operation.models)),
        *under_v1(CodecRoute("GET", "/models/{model_id:path}", Operation.model)),
    )

    def claims(self, headers: Mapping[str, str]) -> bool:
        return any(name in headers for name in _OWN_HEADERS)

    def decode(self, body: bytes) -> Decoded:
        return decode_request(body)

    def head(self, card: ModelCard, request_id: str) -> Head:
        headers = {_REQUEST_ID: request_id}
        return Head(f"msg_{secrets.token_hex(12)}", card.id, int(time.time()), card.fingerprint, headers)

    def call_id(self) -> str:
        return f"toolu_{secrets.token_hex(12)}"

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        (answer,) = answers
        return msgspec.json.encode(
            {
                "id": head.id,
                "type": "message",
                "role": "assistant",
                "model": head.model,
                "content": _content(answer),
                **stop_object(answer.finish, bool(answer.refusal)),
                "usage": usage_object(answer.finish.usage),
                "fortieth": verdict_object(answer.finish),
            }
        )

    def encode_stream(self, head: Head, asked: Decoded) -> AnthropicStream:
        return AnthropicStream(head, head.headers[_REQUEST_ID])

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        paths = asked.shape.tool_paths if asked and isinstance(asked.shape, MessagesShape) else None
        body = msgspec.json.encode(error_object(error, request_id, paths))
        return ErrorReply(status_of(error), body, {_REQUEST_ID: request_id})

    def encode_count(self, tokens: int) -> bytes:
        return msgspec.json.encode({"input_tokens": tokens})

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes:
        """All on one page, whatever the client's `limit`: a server has few."""
        return msgspec.json.encode(
            {
                "data": [_card_object(card) for card in cards],
                "has_more": False,
                "first_id": cards[0].id,
                "last_id": cards[-1].id,
            }
        )

    def encode_model(self, card: ModelCard) -> bytes:
        return msgspec.json.encode(_card_object(card))


def _content(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        thinking = answer.reasoning
        blocks.append({"type": "thinking", "thinking": thinking, "signature": sign(thinking)})
    # clients look at the first block of a message, so that an empty one has a text
    said = answer.content + answer.refusal
    if said or not (answer.reasoning or answer.calls):
        blocks.append({"type": "text", "text": said})
    for call in answer.calls:
        given = msgspec.Raw(input_text(call.arguments).encode())
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    return blocks


def _card_object(card: ModelCard) -> dict[str, Any]:
    """An answer may be as long as the context has room for. 0: not known, and told as null."""
    created = datetime.fromtimestamp(card.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": created,
        "lifecycle": "active",
        "max_input_tokens": card.context_length or None,
        "max_tokens": card.context_length or None,
    }
