"""A dialect that nobody speaks. It shares nothing with OpenAI's, to prove that a dialect is its codec.

A request is {"say": words, "can": {tool: JSON Schema}, "until": stop string, "live": stream?}. An answer is
one object, a stream is one object a line; errors have statuses of their own and quote the request's id.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.codecs.base import CodecRoute, Decoded, ErrorReply, Head, Operation
from proxy.codecs.fields import Fields, parse_object
from proxy.codecs.verdict import verdict_headers
from proxy.conversation.errors import (
    BadRequest,
    BadTool,
    ModelNotFound,
    Overloaded,
    RequestError,
    Unauthorized,
    row_of,
)
from proxy.conversation.events import Answer, Event, Finish, Started, ToolCallReady
from proxy.conversation.message import Message, Role
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest, Sampling
from repair.types import ReasoningDelta, TextDelta, ToolDefinition

TICKET = "plain-ticket"
TROUBLE: dict[type[RequestError], tuple[int, str]] = {
    RequestError: (550, "broken"),
    BadRequest: (422, "unclear"),
    ModelNotFound: (410, "nobody"),
    Unauthorized: (402, "stranger"),
    Overloaded: (529, "busy"),
}


@dataclass(frozen=True, slots=True)
class Loudness:
    """The dialect's own value: a client that shouts is answered so."""

    shouts: bool

    def of(self, text: str) -> str:
        return text.upper() if self.shouts else text


class PlainStream:
    media_type = "application/x-plain-lines"

    def __init__(self, head: Head, asked: Decoded) -> None:
        self._head = head
        self._asked = asked

    def open(self) -> bytes:
        return line({"turn": self._head.id, "by": self._head.model})

    def encode(self, event: Event) -> bytes:
        match event:
            case Started(prompt, cached):
                return line({"read": prompt, "known": cached})
            case TextDelta(text):
                return line({"text": self._asked.shape.of(text)})
            case ReasoningDelta():
                return b""
            case ToolCallReady():
                return line({"do": call_object(event)})
            case _:
                raise AssertionError(f"nothing asks for {event}")

    def keep_alive(self) -> bytes:
        return line({"wait": True})

    def close(self, finish: Finish) -> bytes:
        return line({**end_object(finish), **verdict_headers(finish)})

    def fail(self, error: RequestError) -> bytes:
        return line(trouble_object(error, self._asked, self._head.headers[TICKET]))


class Plain:
    routes = (
        CodecRoute("POST", "/plain/turn", Operation.answer),
        CodecRoute("POST", "/plain/length", Operation.count_tokens),
        CodecRoute("GET", "/plain/models", Operation.models),
        CodecRoute("GET", "/plain/models/{model_id:path}", Operation.model),
        CodecRoute("GET", "/v1/models", Operation.models),
    )

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def claims(self, headers: Mapping[str, str]) -> bool:
        return "plain-speech" in headers

    def decode(self, body: bytes) -> Decoded:
        fields = Fields(parse_object(body))
        words = fields.required_string("say")
        tools = fields.object("can")
        request = ChatRequest(
            model=fields.string("by"),
            messages=(Message.of(Role.user, words),),
            tools=tuple(ToolDefinition(name, "", tools.object(name).values) for name in tools.values),
            sampling=Sampling(stop=(fields.string("until"),) if fields.string("until") else ()),
            stream=fields.boolean("live"),
        )
        return Decoded(request, Loudness(words.isupper()))

    def head(self, card: ModelCard, request_id: str) -> Head:
        return Head(f"turn-{next(self._numbers)}", card.id, 0, "", {TICKET: request_id})

    def call_id(self) -> str:
        return f"do-{next(self._numbers)}"

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        (answer,) = answers
        text = asked.shape.of(answer.content)
        calls = [call_object(call) for call in answer.calls]
        return line({"turn": head.id, "text": text, "do": calls, **end_object(answer.finish)})

    def encode_stream(self, head: Head, asked: Decoded) -> PlainStream:
        return PlainStream(head, asked)

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        status, _ = row_of(error, TROUBLE)
        return ErrorReply(status, line(trouble_object(error, asked, request_id)), {"plain-trouble": "yes"})

    def encode_count(self, tokens: int) -> bytes:
        return line({"long": tokens})

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes:
        return line({"here": [card.id for card in cards]})

    def encode_model(self, card: ModelCard) -> bytes:
        return line({"name": card.id, "room": card.context_length})


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def call_object(call: ToolCallReady) -> dict[str, Any]:
    return {"id": call.id, "what": call.name, "with": json.loads(call.arguments)}


def end_object(finish: Finish) -> dict[str, Any]:
    spent = [finish.usage.prompt_tokens, finish.usage.completion_tokens]
    return {"end": finish.reason.value, "met": finish.stop_sequence, "spent": spent}


def trouble_object(error: RequestError, asked: Decoded | None, request_id: str) -> dict[str, Any]:
    about = "can" if error.param == "tools" else error.param
    if isinstance(error, BadTool):
        about = f"can.{error.tool}"
    told = error.message if asked is None else asked.shape.of(error.message)
    return {"trouble": row_of(error, TROUBLE)[1], "about": about, "told": told, "ticket": request_id}
