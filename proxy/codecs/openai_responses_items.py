"""The `input` of a Responses request: items, of which several make up one message.

What the assistant did in one turn comes as a row of items (its reasoning, its text, each of its calls), which
are one message here, as they are in every model's template. Agents add kinds of items with every
version, and take a 400 for the end of their run: an item that no one here knows is kept where it has a text,
else left out with a line in the log.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from proxy.codecs.custom_tools import custom_arguments
from proxy.codecs.fields import Fields, describe, refuse
from proxy.codecs.openai_responses_tools import (
    SEARCH,
    DeclaredTools,
    ToolNames,
    search_result,
)
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

_log = logging.getLogger(__name__)

_ROLES = {
    "system": Role.system,
    "developer": Role.system,
    "user": Role.user,
    "assistant": Role.assistant,
    "model": Role.assistant,
}
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_RESULTS = ("function_call_output", "custom_tool_call_output")
# Before the base64 of a reasoning text that we handed out in `encrypted_content`.
_SEAL = "fortieth."


def read_items(body: Fields) -> list[Any]:
    """What stands in `input`, a string as the user's message. Raises BadRequest."""
    value = body.values.get("input")
    match value:
        case str():
            return [{"type": "message", "role": "user", "content": value}]
        case list():
            for i, item in enumerate(value):
                Fields.of(item, f"input[{i}]")
            return value
        case None if "input" not in body.values:
            raise BadRequest("input: expected a string or an array, got nothing", param="input")
        case _:
            refuse("input", "a string or an array of items", value)


def kind_of(fields: Fields) -> str:
    """The type of an item; one without is a message, or a reference where it has an id alone."""
    kind = fields.string("type")
    if kind:
        return kind
    return "message" if "role" in fields.values or "content" in fields.values else "item_reference"


def declaring(items: Sequence[Fields]) -> list[Fields]:
    """The items that declare further tools, whatever they are called."""
    return [item for item in items if isinstance(item.values.get("tools"), list)]


def decode_items(items: Sequence[Fields], tools: DeclaredTools) -> tuple[Message, ...]:
    """Raises BadRequest naming the field, e.g. `input[2].content`."""
    messages: list[Message] = []
    for item in items:
        for message in _item(item, tools):
            if messages and _goes_on(messages[-1], message):
                messages[-1] = replace(messages[-1], parts=(*messages[-1].parts, *message.parts))
            else:
                messages.append(message)
    return tuple(messages)


def _goes_on(last: Message, message: Message) -> bool:
    """Whether an item of the assistant belongs to the turn of the one before. Reasoning begins a turn, and a
    text does behind another.
    """
    if last.role is not Role.assistant or message.role is not Role.assistant:
        return False
    if not last.parts or not message.parts:
        return True
    before, after = last.parts[-1], message.parts[0]
    if isinstance(after, ReasoningPart):
        return isinstance(before, ReasoningPart)
    return isinstance(after, PastCall) or isinstance(before, PastCall | ReasoningPart)


def _item(fields: Fields, tools: DeclaredTools) -> Iterator[Message]:
    kind, names = kind_of(fields), tools.names
    match kind:
        case "message":
            yield _message(fields)
        case "tool_search_call":
            yield Message(Role.assistant, (_call(fields, names, _arguments(fields), SEARCH),))
        case "tool_search_output":
            found = TextPart(search_result(fields, tools))
            yield Message(Role.tool, (ResultPart(fields.string("call_id"), names.of("", SEARCH), (found,)),))
        case "function_call":
            text = _arguments(fields)
            yield Message(Role.assistant, (_call(fields, names, text),))
        case "custom_tool_call":
            yield Message(Role.assistant, (_call(fields, names, custom_arguments(fields.string("input"))),))
        case _ if kind in _RESULTS:
            yield Message(Role.tool, (_result(fields, names),))
        case "reasoning":
            thought = _reasoning(fields)
            if thought:
                yield Message(Role.assistant, (ReasoningPart(thought),))
        case _:
            yield from _unknown(fields, kind)


def _message(fields: Fields) -> Message:
    name = fields.string("role", "user")
    role = _ROLES.get(name)
    if role is None:
        _log.debug("%s: unknown role %r is read as user", fields.at("role"), name)
        role = Role.user
    return Message(role, _content(fields, "content"), name if role is Role.system and name != role else "")


def _arguments(fields: Fields) -> str:
    arguments = fields.values.get("arguments")
    return arguments if isinstance(arguments, str) else _to_text(arguments or {})


def _call(fields: Fields, names: ToolNames, arguments: str, name: str = "") -> PastCall:
    """name: in place of the item's."""
    call_id = fields.string("call_id") or fields.string("id")
    flat = names.of(fields.string("namespace"), name or fields.string("name"))
    return PastCall(call_id, flat, arguments)


def _result(fields: Fields, names: ToolNames) -> ResultPart:
    name = fields.string("name")
    known = names.of(fields.string("namespace"), name) if name else ""
    return ResultPart(fields.string("call_id"), known, _content(fields, "output"))


def _unknown(fields: Fields, kind: str) -> Iterator[Message]:
    """Of another agent, or of a kind that was invented later."""
    content = fields.values.get("content")
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if not isinstance(content, str) and not any(isinstance(text, str) for text in texts):
        _log.info("%s: an item of type %r is not served and is left out", fields.path, kind)
        return
    _log.info("%s: an item of type %r is read as a message", fields.path, kind)
    yield _message(fields)


def _content(fields: Fields, key: str) -> tuple[ResultContent, ...]:
    """Text, parts, or what some tool runner made of them."""
    value = fields.values.get(key)
    match value:
        case None | "":
            return ()
        case str():
            return (TextPart(value),)
        case list():
            return tuple(_part(item, f"{fields.at(key)}[{i}]") for i, item in enumerate(value))
        case dict() if value.get("type"):
            return (_part(value, fields.at(key)),)
        case _ if key == "output":
            return (TextPart(_to_text(value)),)
        case _:
            refuse(fields.at(key), "a string, an array of parts or null", value)


def _to_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _part(item: Any, path: str) -> ResultContent:
    if isinstance(item, str):
        return TextPart(item)
    fields = Fields.of(item, path)
    kind = fields.string("type", "input_text" if "text" in fields.values else "")
    match kind:
        case _ if kind in _TEXTS:
            if not isinstance(fields.values.get("text"), str):
                refuse(fields.at("text"), "a string", fields.values.get("text"))
            return TextPart(fields.string("text"))
        case "refusal":
            return TextPart(fields.string("refusal"), refusal=True)
        case "input_image":
            return _image(fields)
        case "input_file":
            known = ("file_id", "file_data", "file_url", "filename")
            file = {key: fields.values[key] for key in known if fields.values.get(key)}
            return MediaPart("file", {"type": "file", "file": file})
        case "input_audio":
            return MediaPart(kind, fields.values)
        case _:
            _log.debug("%s: unknown part type %r", fields.path, kind)
            text = fields.values.get("text")
            return TextPart(text) if isinstance(text, str) else UnknownPart(kind)


def _image(fields: Fields) -> MediaPart | UnknownPart:
    """As Chat Completions writes it. One that is known by its file id only cannot be shown."""
    url = fields.values.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if not isinstance(url, str) or not url:
        _log.info("%s: an image without image_url is left out", fields.path)
        return UnknownPart("input_image")
    detail = fields.values.get("detail")
    image = {"url": url} | ({"detail": detail} if isinstance(detail, str) else {})
    return MediaPart("image_url", {"type": "image_url", "image_url": image})


def _reasoning(fields: Fields) -> str:
    """Our own sealed text, else what stands in content, else the summary."""
    sealed = fields.values.get("encrypted_content")
    text = unseal(sealed) if isinstance(sealed, str) else None
    if text is not None:
        return text
    for key in ("content", "summary"):
        parts: tuple[Part, ...] = _content(fields, key)
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        if text:
            return text
    return ""


def seal(text: str) -> str:
    """A reasoning text as `encrypted_content`, which clients send back unread. It hides nothing: the client
    was shown the text already.
    """
    return _SEAL + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def unseal(sealed: str) -> str | None:
    """None where it is another server's."""
    if not sealed.startswith(_SEAL):
        return None
    try:
        return base64.b64decode(sealed.removeprefix(_SEAL), validate=True).decode()
    except (binascii.Error, ValueError):
        _log.debug("encrypted_content is not whole: %s", describe(sealed))
        return None
