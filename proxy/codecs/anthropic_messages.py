"""Decodes the system prompt and the messages of a Messages request, `tool_result` blocks among them.

An agent cannot mend its history: as in the other dialects it is refused only where a field has a type that
says nothing. A result of a tool becomes a message of its own, where it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from proxy.codecs.anthropic_blocks import is_own
from proxy.codecs.anthropic_tools import Tools, cache_mark
from proxy.codecs.fields import Fields, refuse
from proxy.conversation.errors import BadRequest
from proxy.conversation.message import (
    MediaPart,
    Message,
    Part,
    PastCall,
    ReasoningPart,
    ResultContent,
    ResultPart,
    Role,
    TextPart,
    UnknownPart,
)
from proxy.conversation.request import tool_object

_ROLES = {"system": Role.system, "developer": Role.system, "assistant": Role.assistant}


class History:
    """Reads the conversation of one request. referenced: names of deferred tools that it has declared where
    the client refers to them.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._unknown: dict[str, None] = {}
        self.referenced: dict[str, None] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """What a model is told by its name only."""
        return tuple(f"content of type {kind} is not served here: left out" for kind in self._unknown)

    def read(self, body: Fields) -> tuple[Message, ...]:
        """Raises BadRequest naming the field, e.g. `messages[2].content`."""
        if "messages" not in body.values:
            raise BadRequest("messages: expected an array, got nothing", param="messages")
        items = body.values["messages"]
        if not isinstance(items, list):
            refuse("messages", "an array", items)
        if not items:
            raise BadRequest("messages must hold at least one message, got an empty array", param="messages")
        told: list[Message] = []
        system = self._content(body, "system", Role.system)
        if system:
            told.append(Message(Role.system, system))
        for i, item in enumerate(items):
            fields = Fields.of(item, f"messages[{i}]")
            role = _ROLES.get(fields.required_string("role"), Role.user)
            told += _messages(role, self._content(fields, "content", role))
        return tuple(told)

    def _content(self, fields: Fields, key: str, role: Role) -> tuple[Part, ...]:
        """Of `system`, of a message or of a document."""
        content = fields.values.get(key)
        match content:
            case None:
                return ()
            case str():
                return (TextPart(content),) if content else ()
            case list():
                return self._blocks(content, fields.at(key), role)
            case dict() if content.get("type"):
                return self._blocks([content], fields.at(key), role)
            case _:
                refuse(fields.at(key), "a string or an array of blocks", content)

    def _blocks(self, items: Sequence[Any], path: str, role: Role) -> tuple[Part, ...]:
        parts: list[Part] = []
        for i, item in enumerate(items):
            if isinstance(item, str):
                parts.append(TextPart(item))
            else:
                parts += self._block(Fields.of(item, f"{path}[{i}]"), role)
        return tuple(parts)

    def _block(self, fields: Fields, role: Role) -> Iterator[Part]:
        kind = fields.string("type", "text" if "text" in fields.values else "")
        match kind:
            case "thinking" if role is Role.assistant:
                signature = _text_of(fields, "signature")
                yield ReasoningPart(_text_of(fields, "thinking"), "" if is_own(signature) else signature)
            case "redacted_thinking" if role is Role.assistant:
                yield ReasoningPart("", redacted=_text_of(fields, "data"))
            case "thinking" | "redacted_thinking":
                return
            case "tool_use" if role is Role.assistant:
                yield PastCall(fields.string("id"), fields.string("name"), _arguments(fields))
            case "tool_result":
                yield self._result(fields)
            case _:
                yield from self._shown(fields, kind)

    def _result(self, fields: Fields) -> ResultPart:
        call_id, failed = fields.string("tool_use_id"), fields.boolean("is_error")
        content = fields.values.get("content")
        if isinstance(content, dict) and not content.get("type"):  # some tool runners send a bare object
            return ResultPart(call_id, "", (TextPart(json.dumps(content, ensure_ascii=False)),), failed)
        parts = self._content(fields, "content", Role.user)
        shown = [part for part in parts if isinstance(part, TextPart | MediaPart | UnknownPart)]
        if shown and isinstance(shown[-1], TextPart):  # a mark of the whole result stands at its end
            shown[-1] = TextPart(shown[-1].text, {**cache_mark(fields), **shown[-1].extra})
        return ResultPart(call_id, "", tuple(shown), failed)

    def _shown(self, fields: Fields, kind: str) -> Iterator[ResultContent]:
        """Blocks that a message and a result of a tool may both hold."""
        match kind:
            case "text":
                if not isinstance(fields.values.get("text"), str):
                    refuse(fields.at("text"), "a string", fields.values.get("text"))
                yield TextPart(fields.string("text"), cache_mark(fields))
            case "image":
                yield self._media(fields, "image", _image_part(fields.object("source")))
            case "document":
                yield from self._document(fields)
            case "search_result":
                where = f"{fields.string('title')} ({fields.string('source')})"
                yield TextPart(where)
                yield from self._shown_content(fields, "content")
            case "tool_reference":
                yield TextPart(self._declare(fields.required_string("tool_name")))
            case _:
                text = fields.values.get("text")
                yield TextPart(text) if isinstance(text, str) else self._left_out(kind)

    def _shown_content(self, fields: Fields, key: str) -> Iterator[ResultContent]:
        for part in self._content(fields, key, Role.user):
            if isinstance(part, TextPart | MediaPart | UnknownPart):
                yield part

    def _document(self, fields: Fields) -> Iterator[ResultContent]:
        source, title = fields.object("source"), fields.string("title")
        kind = source.string("type")
        if kind not in ("text", "content"):
            yield self._media(fields, "document", _file_part(source, title))
            return
        if title:
            yield TextPart(title)
        yield from self._shown_content(source, "data" if kind == "text" else "content")

    def _media(self, fields: Fields, kind: str, part: dict[str, Any] | None) -> MediaPart | UnknownPart:
        return self._left_out(kind) if part is None else MediaPart(kind, part | cache_mark(fields))

    def _left_out(self, kind: str) -> UnknownPart:
        self._unknown[kind or "unknown"] = None
        return UnknownPart(kind)

    def _declare(self, name: str) -> str:
        """What stands in the place of a reference to a tool: where it is the first one to a deferred tool,
        all of the tool. A prompt so keeps its beginning when tools are found on the way.
        """
        if name not in self._tools.known:
            return f"[{name}: no such tool]"
        if name not in self._tools.deferred or name in self.referenced:
            return f"{name}: declared above"
        self.referenced[name] = None
        declared = json.dumps(tool_object(self._tools.known[name]), ensure_ascii=False)
        return f"A tool that can be called from now on:\n{declared}"


def _messages(role: Role, parts: Sequence[Part]) -> Iterator[Message]:
    """One message for what stands together, and one for each result of a tool."""
    run: list[Part] = []
    for part in parts:
        if not isinstance(part, ResultPart):
            run.append(part)
            continue
        if run:
            yield Message(role, tuple(run))
            run = []
        yield Message(Role.tool, (part,))
    if run or not parts:
        yield Message(role, tuple(run))


def _arguments(fields: Fields) -> str:
    """Any JSON: agents send back what they made of a broken call."""
    given = fields.values.get("input")
    if given is None:
        return "{}"
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _image_part(source: Fields) -> dict[str, Any] | None:
    """None for an image that lies with Anthropic."""
    match source.string("type"):
        case "base64":
            data = source.required_string("data")
            url = f"data:{source.string('media_type', 'image/png')};base64,{data}"
        case "url":
            url = source.required_string("url")
        case _:
            return None
    return {"type": "image_url", "image_url": {"url": url}}


def _file_part(source: Fields, title: str) -> dict[str, Any] | None:
    """None as in _image_part()."""
    match source.string("type"):
        case "base64":
            data = source.required_string("data")
            url = f"data:{source.string('media_type', 'application/pdf')};base64,{data}"
            return {"type": "file", "file": {"filename": title or "document.pdf", "file_data": url}}
        case "url":  # as LiteLLM takes the address of a file
            return {"type": "file", "file": {"file_id": source.required_string("url")}}
        case _:
            return None


def _text_of(fields: Fields, key: str) -> str:
    value = fields.values.get(key)
    return value if isinstance(value, str) else ""
