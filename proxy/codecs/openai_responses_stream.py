"""The response object, and the stream of events that ends in it.

Order of a stream: response.created, response.in_progress; of each item output_item.added, its parts and
deltas, output_item.done; a comment with the verdict; response.completed or response.incomplete. There is no
`[DONE]`. A stream that fails ends in an `error` event and response.failed: some clients know only one of
the two.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from proxy.codecs.base import Decoded, Head
from proxy.codecs.openai_common import cost_field
from proxy.codecs.openai_errors import error_object
from proxy.codecs.openai_responses_output import INCOMPLETE, Output, Told
from proxy.codecs.openai_responses_request import ResponseShape
from proxy.codecs.openai_responses_store import ResponseStore
from proxy.codecs.verdict import verdict_comment, verdict_object
from proxy.conversation.errors import RequestError
from proxy.conversation.events import Answer, Event, Finish, RefusalDelta, Usage
from proxy.conversation.logprobs import TextWithLogprobs
from repair.types import ReasoningDelta, TextDelta


def shape_of(asked: Decoded) -> ResponseShape:
    assert isinstance(asked.shape, ResponseShape)
    return asked.shape


def responses_error(error: RequestError, asked: Decoded | None) -> dict[str, Any]:
    """OpenAI's error body, with the fields' names of this API."""
    told = error_object(error, shape_of(asked).paths if asked is not None else None)
    if told["error"]["param"] == "messages":
        told["error"]["param"] = "input"
    return told


class ResponseObject:
    """The response of one request, in each of its states."""

    def __init__(self, head: Head, asked: Decoded, store: ResponseStore) -> None:
        self._shape = shape_of(asked)
        self._store = store
        self._fields: dict[str, Any] = {
            "id": head.id,
            "object": "response",
            "created_at": head.created,
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": head.model,
            "output": [],
            "usage": None,
            **self._shape.echo,
        }

    def begun(self) -> dict[str, Any]:
        return self._fields

    def finished(self, output: Output, finish: Finish) -> dict[str, Any]:
        """Kept from now on, where the client did not forbid it."""
        reason = INCOMPLETE.get(finish.reason)
        response = {
            **self._fields,
            "status": "incomplete" if reason else "completed",
            "completed_at": None if reason else int(time.time()),
            "incomplete_details": {"reason": reason} if reason else None,
            "output": output.items,
            "usage": _usage_object(finish.usage),
            "fortieth": verdict_object(finish),
        }
        if self._shape.store:
            self._store.put(self._shape.previous, self._shape.added, response)
        return response

    def failed(self, output: Output, error: dict[str, Any]) -> dict[str, Any]:
        """error: as an error body holds it."""
        told = {"code": error["code"] or error["type"], "message": error["message"]}
        return {**self._fields, "status": "failed", "error": told, "output": output.items}


def whole_response(head: Head, asked: Decoded, answer: Answer, store: ResponseStore) -> dict[str, Any]:
    """By the steps of a stream that holds the same."""
    output = Output(shape_of(asked))
    text: Event = TextDelta(answer.content)
    if answer.scores:
        text = TextWithLogprobs(answer.content, answer.scores)
    events: list[Event] = [text, *answer.calls]
    if answer.refusal:
        events.insert(1, RefusalDelta(answer.refusal))
    if answer.reasoning:
        events.insert(0, ReasoningDelta(answer.reasoning))
    for event in events:
        for _ in output.feed(event):
            pass
    for _ in output.close(answer.finish):
        pass
    return ResponseObject(head, asked, store).finished(output, answer.finish)


class ResponseStream:
    media_type = "text/event-stream"

    def __init__(self, head: Head, asked: Decoded, store: ResponseStore) -> None:
        self._asked = asked
        self._response = ResponseObject(head, asked, store)
        self._output = Output(shape_of(asked))
        self._number = 0

    def open(self) -> bytes:
        begun = {"response": self._response.begun()}
        return self._event(("response.created", begun)) + self._event(("response.in_progress", begun))

    def encode(self, event: Event) -> bytes:
        return b"".join(map(self._event, self._output.feed(event)))

    def keep_alive(self) -> bytes:
        return self._event(("response.in_progress", {"response": self._response.begun()}))

    def close(self, finish: Finish) -> bytes:
        last = b"".join(map(self._event, self._output.close(finish)))
        response = self._response.finished(self._output, finish)
        end = self._event((f"response.{response['status']}", {"response": response}))
        return last + verdict_comment(finish) + end

    def fail(self, error: RequestError) -> bytes:
        told = responses_error(error, self._asked)["error"]
        flat = {key: told[key] for key in ("code", "message", "param")}
        # the nested object is what OpenAI sends and its SDKs raise by; its documentation has the flat fields
        first = self._event(("error", {**flat, "error": told}))
        failed = self._response.failed(self._output, told)
        return first + self._event(("response.failed", {"response": failed}))

    def _event(self, told: Told) -> bytes:
        kind, fields = told
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        **cost_field(usage),
    }
