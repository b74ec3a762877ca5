"""The items of an answer, and the events that tell how they come about.

Items follow one another: one is closed before the next is opened, as some clients insist on. A whole answer
is made by the same steps as a stream of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import msgspec

from proxy.codecs.arguments import input_text
from proxy.codecs.custom_tools import custom_input
from proxy.codecs.openai_common import logprob_objects
from proxy.codecs.openai_responses_items import seal
from proxy.codecs.openai_responses_request import ResponseShape
from proxy.conversation.events import (
    AnswerExtra,
    Event,
    Finish,
    FinishReason,
    OfChoice,
    RefusalDelta,
    Started,
    ToolCallReady,
)
from proxy.conversation.logprobs import Logprobs, TextWithLogprobs, TokenLogprob
from repair.types import ReasoningDelta, TextDelta

Told = tuple[str, dict[str, Any]]
"""The type of an event and its fields, without its number."""

INCOMPLETE = {
    FinishReason.length: "max_output_tokens",
    FinishReason.content_filter: "content_filter",
}


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(24)}"


def message_item(id: str, status: str, content: list[Any]) -> dict[str, Any]:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


class Output:
    """items: those that are closed, in order."""

    def __init__(self, shape: ResponseShape) -> None:
        self._shape = shape
        self.items: list[dict[str, Any]] = []
        self._open: _TextItem | _RefusalItem | _ReasoningItem | None = None
        self._space = ""  # white space that may turn out to stand before a call, where it is no text

    def feed(self, event: Event) -> Iterator[Told]:
        """Of every event but the Finish."""
        match event:
            case TextDelta(text):
                yield from self._text(text, ())
            case TextWithLogprobs(text, tokens):
                yield from self._text(text, tokens)
            case ReasoningDelta(text):
                yield from self._reasoning(text)
            case RefusalDelta(text):
                yield from self._refusal(text)
            case ToolCallReady():
                yield from self._close_open()
                yield from self._call(event)
            case Started() | Logprobs() | AnswerExtra():
                pass
            case _:
                assert not isinstance(event, OfChoice), "one answer is all that the API can ask for"

    def close(self, finish: Finish) -> Iterator[Told]:
        complete = finish.reason not in INCOMPLETE
        said = isinstance(self._open, _TextItem | _RefusalItem)
        spoken = said or any(item["type"] != "reasoning" for item in self.items)
        if not spoken and (self._space or complete):
            # an answer of nothing is a message of nothing: some clients expect a message
            space, self._space = self._space, ""
            yield from self._text(space, (), keep=True)
        yield from self._close_open("completed" if complete else "incomplete")

    def _text(self, text: str, tokens: Sequence[TokenLogprob], keep: bool = False) -> Iterator[Told]:
        if not isinstance(self._open, _TextItem):
            text = self._space + text
            if not keep and not text.strip():
                self._space = text
                return
            yield from self._close_open()
            self._space = ""
            self._open = _TextItem(len(self.items), self._shape.scored)
            yield from self._open.begin()
        if text:
            yield self._open.add(text, tokens)

    def _reasoning(self, text: str) -> Iterator[Told]:
        if not isinstance(self._open, _ReasoningItem):
            yield from self._close_open()
            self._open = _ReasoningItem(len(self.items), self._shape)
            yield from self._open.begin()
        if text:
            yield self._open.add(text)

    def _refusal(self, text: str) -> Iterator[Told]:
        if not isinstance(self._open, _RefusalItem):
            yield from self._close_open()
            self._open = _RefusalItem(len(self.items))
            yield from self._open.begin()
        if text:
            yield self._open.add(text)

    def _close_open(self, status: str = "completed") -> Iterator[Told]:
        self._space = ""
        if self._open is not None:
            item = yield from self._open.end(status)
            self.items.append(item)
            self._open = None

    def _call(self, call: ToolCallReady) -> Iterator[Told]:
        known = self._shape.names.told.get(call.name)
        if known is not None and known.search:
            yield from self._search(call)
            return
        name = known.name if known is not None else call.name
        custom = known is not None and known.custom
        key, text = ("input", custom_input(call.arguments)) if custom else ("arguments", call.arguments)
        item: dict[str, Any] = {
            "id": new_id("ctc" if custom else "fc"),
            "type": "custom_tool_call" if custom else "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": name,
            key: text,
        }
        if known is not None and known.namespace:
            item["namespace"] = known.namespace
        index = len(self.items)
        place = {"item_id": item["id"], "output_index": index}
        begun = {**item, "status": "in_progress", key: ""}
        yield "response.output_item.added", {"output_index": index, "item": begun}
        of = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
        yield f"{of}.delta", {**place, "delta": text}
        yield f"{of}.done", {**place, key: text} | ({} if custom else {"name": name})
        yield "response.output_item.done", {"output_index": index, "item": item}
        self.items.append(item)

    def _search(self, call: ToolCallReady) -> Iterator[Told]:
        """A search for tools, which the client executes; it has no events of its arguments."""
        item: dict[str, Any] = {
            "id": new_id("tsc"),
            "type": "tool_search_call",
            "status": "completed",
            "call_id": call.id,
            "execution": "client",
            "arguments": msgspec.json.decode(input_text(call.arguments)),
        }
        index = len(self.items)
        begun = {**item, "status": "in_progress"}
        yield "response.output_item.added", {"output_index": index, "item": begun}
        yield "response.output_item.done", {"output_index": index, "item": item}
        self.items.append(item)


class _TextItem:
    """A message with one part."""

    def __init__(self, index: int, scored: bool) -> None:
        self._index = index
        self._id = new_id("msg")
        self._scored = scored
        self._texts: list[str] = []
        self._scores: list[dict[str, Any]] = []

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index, "content_index": 0}

    def _part(self) -> dict[str, Any]:
        text = "".join(self._texts)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self._scores}

    def begin(self) -> Iterator[Told]:
        item = message_item(self._id, "in_progress", [])
        yield "response.output_item.added", {"output_index": self._index, "item": item}
        yield "response.content_part.added", {**self._place(), "part": {**self._part(), "logprobs": []}}

    def add(self, text: str, tokens: Sequence[TokenLogprob]) -> Told:
        scores = logprob_objects(tokens) if self._scored else []
        self._texts.append(text)
        self._scores += scores
        return "response.output_text.delta", {**self._place(), "delta": text, "logprobs": scores}

    def end(self, status: str) -> Generator[Told, None, dict[str, Any]]:
        part = self._part()
        told = {**self._place(), "text": part["text"], "logprobs": self._scores}
        yield "response.output_text.done", told
        yield "response.content_part.done", {**self._place(), "part": part}
        item = message_item(self._id, status, [part])
        yield "response.output_item.done", {"output_index": self._index, "item": item}
        return item


class _RefusalItem:
    """A message with one part, in which the model says that it will not answer."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._id = new_id("msg")
        self._texts: list[str] = []

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index, "content_index": 0}

    def _part(self) -> dict[str, Any]:
        return {"type": "refusal", "refusal": "".join(self._texts)}

    def begin(self) -> Iterator[Told]:
        item = message_item(self._id, "in_progress", [])
        yield "response.output_item.added", {"output_index": self._index, "item": item}
        yield "response.content_part.added", {**self._place(), "part": self._part()}

    def add(self, text: str) -> Told:
        self._texts.append(text)
        return "response.refusal.delta", {**self._place(), "delta": text}

    def end(self, status: str) -> Generator[Told, None, dict[str, Any]]:
        part = self._part()
        yield "response.refusal.done", {**self._place(), "refusal": part["refusal"]}
        yield "response.content_part.done", {**self._place(), "part": part}
        item = message_item(self._id, status, [part])
        yield "response.output_item.done", {"output_index": self._index, "item": item}
        return item


class _ReasoningItem:
    """As its own text, or where the client asked for a summary, as that: these models write no other."""

    def __init__(self, index: int, shape: ResponseShape) -> None:
        self._index = index
        self._id = new_id("rs")
        self._summarised = shape.summarised
        self._sealed = shape.sealed
        self._texts: list[str] = []

    def _place(self) -> dict[str, Any]:
        at = "summary_index" if self._summarised else "content_index"
        return {"item_id": self._id, "output_index": self._index, at: 0}

    def _part(self) -> dict[str, Any]:
        kind = "summary_text" if self._summarised else "reasoning_text"
        return {"type": kind, "text": "".join(self._texts)}

    def _item(self, status: str, parts: list[Any]) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self._id, "type": "reasoning", "status": status}
        item["summary"] = parts if self._summarised else []
        if not self._summarised:
            item["content"] = parts
        item["encrypted_content"] = seal("".join(self._texts)) if self._sealed and parts else None
        return item

    @property
    def _text(self) -> str:
        return "response.reasoning_summary_text" if self._summarised else "response.reasoning_text"

    @property
    def _of_part(self) -> str:
        return "response.reasoning_summary_part" if self._summarised else "response.content_part"

    def begin(self) -> Iterator[Told]:
        item = self._item("in_progress", [])
        yield "response.output_item.added", {"output_index": self._index, "item": item}
        yield f"{self._of_part}.added", {**self._place(), "part": self._part()}

    def add(self, text: str) -> Told:
        self._texts.append(text)
        return f"{self._text}.delta", {**self._place(), "delta": text}

    def end(self, status: str) -> Generator[Told, None, dict[str, Any]]:
        part = self._part()
        yield f"{self._text}.done", {**self._place(), "text": part["text"]}
        yield f"{self._of_part}.done", {**self._place(), "part": part}
        item = self._item(status, [part])
        yield "response.output_item.done", {"output_index": self._index, "item": item}
        return item
