"""What an API's codec does: everything that one dialect says differently from another.

It names the paths that it serves, decodes a request, makes the ids of an answer, and encodes answers,
streams, errors and the list of models. Nothing outside of it knows the dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from proxy.conversation.errors import RequestError
from proxy.conversation.events import Answer, Event, Finish
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest


class Operation(StrEnum):
    """What a route is asked for. answer: one turn of a conversation. count_tokens: of its prompt.
    models: what is served. model: one of them, named by the path's parameter `model_id`. named_model: one of
    them, named by the body as in any request. kept: what the codec itself keeps. tokenize: the tokens of a
    prompt. detokenize: the text of tokens.
    """

    answer = "answer"
    count_tokens = "count_tokens"
    models = "models"
    model = "model"
    named_model = "named_model"
    kept = "kept"
    tokenize = "tokenize"
    detokenize = "detokenize"


Kept = Callable[[Mapping[str, Any]], bytes]
"""Answers from what a codec keeps, by the parameters of the path. Raises RequestError."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request, and what only its dialect needs in order to answer it. Nothing but the codec that made
    `shape` looks into it.
    """

    request: ChatRequest
    shape: Any = None


class TokenForm(Protocol):
    """How one dialect asks for the tokens of a prompt, and for the text of tokens."""

    def decode_prompt(self, body: bytes) -> Decoded:
        """The request of which the prompt is meant. Raises BadRequest naming the field."""
        ...

    def encode_tokens(self, asked: Decoded, card: ModelCard, tokens: Tokens) -> bytes: ...

    def decode_tokens(self, body: bytes) -> tuple[str, tuple[int, ...]]:
        """The name of a model, and token ids. Raises BadRequest naming the field."""
        ...

    def encode_text(self, text: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """ids: of a prompt. spelled: each of them as the vocabulary writes it."""

    ids: tuple[int, ...]
    spelled: tuple[str, ...]


_OPEN_BODY: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class CodecRoute:
    """path: as FastAPI takes it, `{model_id:path}` for the name of a model. kept: of Operation.kept. form: of
    Operation.tokenize and Operation.detokenize.

    For the OpenAPI document alone: schema, of the body where one is read, and stream_type, the media type of
    an answer's stream.
    """

    method: str
    path: str
    operation: Operation
    kept: Kept | None = None
    form: TokenForm | None = None
    schema: Mapping[str, Any] = field(default_factory=lambda: _OPEN_BODY)
    stream_type: str = "text/event-stream"


def under_v1(route: CodecRoute) -> tuple[CodecRoute, CodecRoute]:
    """The route once under /v1 and once as it is, since some clients' base URLs leave /v1 out."""
    return replace(route, path=f"/v1{route.path}"), route


@dataclass(frozen=True, slots=True)
class Head:
    """What every part of one answer repeats. created: seconds since the epoch. headers: of the HTTP response,
    beside those that all answers have.
    """

    id: str
    model: str
    created: int
    fingerprint: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error as an HTTP response. headers: beside those that all errors have, such as Retry-After."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class StreamEncoder(Protocol):
    """Turns the events of one turn into the bytes of one stream, in order."""

    @property
    def media_type(self) -> str: ...

    def open(self) -> bytes:
        """What is sent before anything is known of the answer."""
        ...

    def encode(self, event: Event) -> bytes:
        """Of every event but the last Finish; the first is Started."""
        ...

    def keep_alive(self) -> bytes:
        """Data that changes nothing, for clients that give up on a silent stream."""
        ...

    def close(self, finish: Finish) -> bytes: ...

    def fail(self, error: RequestError) -> bytes:
        """The last bytes of a stream that cannot go on."""
        ...


class Codec(Protocol):
    """One dialect. One object serves all requests, and what it keeps between them is bounded."""

    @property
    def routes(self) -> Sequence[CodecRoute]: ...

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Whether a request is in this dialect by its headers alone (names in lower case), for paths that
        several dialects have. What no dialect claims is the first one's.
        """
        ...

    def decode(self, body: bytes) -> Decoded:
        """Raises BadRequest naming the field."""
        ...

    def head(self, card: ModelCard, request_id: str) -> Head:
        """With a new id. request_id: of the HTTP request, as its log lines and x-request-id show it."""
        ...

    def call_id(self) -> str:
        """A new one, for a call that the model has made."""
        ...

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        """As many answers as the request asks for, which may be none."""
        ...

    def encode_stream(self, head: Head, asked: Decoded) -> StreamEncoder: ...

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        """asked: None where the error came before the request could be decoded."""
        ...

    def encode_count(self, tokens: int) -> bytes:
        """tokens: of the prompt that the request becomes."""
        ...

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes: ...

    def encode_model(self, card: ModelCard) -> bytes: ...
