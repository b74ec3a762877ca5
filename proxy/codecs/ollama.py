"""Ollama's API (https://docs.ollama.com/api), for clients that speak nothing else.

Its routes are three codecs, since each reads its bodies in another way: of conversations, of prompts, and of
questions about a model. What manages models on a disk is not served.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from proxy.codecs.base import CodecRoute, Decoded, ErrorReply, Head, Operation, under_v1
from proxy.codecs.ollama_answer import OllamaStream, line, shape_of, whole_answer
from proxy.codecs.ollama_errors import error_object, status_of
from proxy.codecs.ollama_models import encode_loaded, encode_shown, encode_tags
from proxy.codecs.ollama_request import decode_chat, decode_name, decode_prompt
from proxy.codecs.ollama_schemas import CHAT, GENERATE, SHOW
from proxy.conversation.errors import NotFound, RequestError
from proxy.conversation.events import Answer
from proxy.conversation.model_card import ModelCard

# Clients ask for a least version of Ollama's: the first one that had all that is served here.
VERSION = "0.13.0"
_CLIENTS = "ollama"
_ABSENT = (
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/{digest}"),
    ("GET", "/api/blobs/{digest}"),
)


def _version(named: Mapping[str, Any]) -> bytes:
    return line({"version": VERSION})


def _absent(named: Mapping[str, Any]) -> NoReturn:
    raise NotFound(
        "not served here: the models are chosen when fortieth starts and stay, and no text is embedded"
    )


class OllamaCodec:
    """What all of them say alike."""

    routes: Sequence[CodecRoute] = ()

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Its own clients say who they are."""
        return headers.get("user-agent", "").lower().startswith(_CLIENTS)

    def decode(self, body: bytes) -> Decoded:
        return decode_chat(body)

    def head(self, card: ModelCard, request_id: str) -> Head:
        return Head(request_id, card.id, int(time.time()), card.fingerprint)

    def call_id(self) -> str:
        return f"call_{secrets.token_hex(12)}"

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        return whole_answer(head, asked, answers)

    def encode_stream(self, head: Head, asked: Decoded) -> OllamaStream:
        return OllamaStream(head, asked)

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        told = error_object(error, shape_of(asked).tool_paths)
        return ErrorReply(status_of(error), msgspec.json.encode(told))

    def encode_count(self, tokens: int) -> bytes:
        return line({"prompt_eval_count": tokens})

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes:
        return encode_tags(cards)

    def encode_model(self, card: ModelCard) -> bytes:
        return encode_shown(card)


class OllamaChat(OllamaCodec):
    """The codec of /api/chat, of the list of models, and of what is not served."""

    routes = (
        *under_v1(
            CodecRoute(
                "POST", "/api/chat", Operation.answer, schema=CHAT, stream_type=OllamaStream.media_type
            )
        ),
        *under_v1(CodecRoute("GET", "/api/tags", Operation.models)),
        *under_v1(CodecRoute("GET", "/api/version", Operation.kept, _version)),
        *(route for one in _ABSENT for route in under_v1(CodecRoute(*one, Operation.kept, _absent))),
    )


class OllamaGenerate(OllamaCodec):
    """The codec of /api/generate."""

    routes = under_v1(
        CodecRoute(
            "POST", "/api/generate", Operation.answer, schema=GENERATE, stream_type=OllamaStream.media_type
        )
    )

    def decode(self, body: bytes) -> Decoded:
        return decode_prompt(body)


class OllamaShow(OllamaCodec):
    """The codec of questions about a model, and of what is in memory."""

    routes = (
        *under_v1(CodecRoute("POST", "/api/show", Operation.named_model, schema=SHOW)),
        *under_v1(CodecRoute("GET", "/api/ps", Operation.models)),
    )

    def decode(self, body: bytes) -> Decoded:
        return decode_name(body)

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes:
        return encode_loaded(cards)
