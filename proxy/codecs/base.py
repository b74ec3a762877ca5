"""What an API's codec does: decode a request, encode its answer, its stream and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.conversation.errors import RequestError
from proxy.conversation.events import Answer, Event, Finish
from proxy.conversation.request import ChatRequest


@dataclass(frozen=True, slots=True)
class Head:
    """What every part of one answer repeats. created: seconds since the epoch."""

    id: str
    model: str
    created: int
    fingerprint: str


class StreamEncoder(Protocol):
    """Turns the events of one turn into the bytes of one event stream, in order."""

    def open(self) -> bytes: ...

    def encode(self, event: Event) -> bytes: ...

    def keep_alive(self) -> bytes:
        """Data that changes nothing, for clients that give up on a silent stream."""
        ...

    def close(self, finish: Finish) -> bytes: ...

    def fail(self, error: RequestError) -> bytes:
        """The last bytes of a stream that cannot go on."""
        ...


class Codec(Protocol):
    def decode(self, body: bytes) -> ChatRequest:
        """Raises BadRequest naming the field."""
        ...

    def encode_answers(self, head: Head, asked: ChatRequest, answers: Sequence[Answer]) -> bytes:
        """As many answers as the request asks for."""
        ...

    def encode_stream(self, head: Head, request: ChatRequest) -> StreamEncoder: ...
