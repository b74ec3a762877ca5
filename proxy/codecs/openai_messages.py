"""The `messages` of a Chat Completions request, as real agents send them.

An agent cannot mend its history, so a history is refused only where a field has a type that says nothing:
argument strings that are no JSON, null contents, unknown roles and unknown parts are all taken.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.codecs.as_sent import NOT_SENT_OF_MESSAGES
from proxy.codecs.custom_tools import custom_arguments
from proxy.codecs.fields import Fields, describe, refuse
from proxy.conversation.errors import BadRequest
from proxy.conversation.message import (
    MediaPart,
    Message,
    Part,
    PastCall,
    ReasoningPart,
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
    "tool": Role.tool,
    "function": Role.tool,
}
_MEDIA = ("image", "audio", "video", "file", "document")
# Parts that carry the model's own thinking, under the names of several APIs, and the field that holds it.
_THINKING = {"thinking": "thinking", "reasoning": "text", "reasoning_text": "text"}
# The model's thinking, by the names that APIs have for it, and the one by which it is sent.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_OF_MESSAGE = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "tool_call_id", *_THOUGHTS}
    | NOT_SENT_OF_MESSAGES.keys()
)
_OF_TEXT = frozenset({"type", "text"})
_OF_CALL = frozenset({"id", "type", "function", "index"})
_SHOWN: Final = (TextPart, MediaPart, UnknownPart)
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def decode_messages(body: Fields) -> tuple[Message, ...]:
    """Raises BadRequest naming the field, e.g. `messages[2].content`."""
    if "messages" not in body.values:
        raise BadRequest("messages: expected an array, got nothing", param="messages")
    items = body.values["messages"]
    if not isinstance(items, list):
        refuse("messages", "an array", items)
    if not items:
        raise BadRequest("messages must hold at least one message, got an empty array", param="messages")
    return tuple(_message(Fields.of(item, f"messages[{i}]")) for i, item in enumerate(items))


def _message(fields: Fields) -> Message:
    name = fields.required_string("role")
    role = _ROLES.get(name)
    if role is None:
        _log.debug("%s: unknown role %r is read as user", fields.at("role"), name)
        role = Role.user
    sent_as = name if name not in _ROLES or name == "developer" else ""
    content = _content(fields, role)
    extra = _extra(fields, _others(fields, _OF_MESSAGE))
    if role is Role.tool:
        shown = tuple([part for part in content if isinstance(part, _SHOWN)])
        result = ResultPart(fields.string("tool_call_id"), fields.string("name"), shown)
        return Message(role, (result,), extra=extra)
    if role is not Role.assistant:
        said = tuple(part for part in content if not isinstance(part, ReasoningPart))
        return Message(role, said, sent_as, extra)
    content += _refusal(fields)
    thought, called = _reasoning(fields)
    if called == "reasoning":  # who calls it so reads it so
        extra["reasoning"] = thought
    if thought:
        others = (part for part in content if not isinstance(part, ReasoningPart))
        content = (ReasoningPart(thought), *others)
    return Message(role, (*content, *_calls(fields)), extra=extra)


def _extra(fields: Fields, names: Iterable[str]) -> dict[str, Any]:
    """What is passed on to an upstream as it was sent."""
    return {name: fields.values[name] for name in names if fields.values.get(name) not in _NOTHING}


def _others(fields: Fields, known: frozenset[str]) -> list[str]:
    return [name for name in fields.values if name not in known]


def _reasoning(fields: Fields) -> tuple[str, str]:
    """The text, and the name of its field."""
    for key in _THOUGHTS:
        value = fields.values.get(key)
        if isinstance(value, str) and value:
            return value, key
    return "", ""


def _content(fields: Fields, role: Role) -> tuple[Part, ...]:
    """What stands in `content`."""
    content = fields.values.get("content")
    path = fields.at("content")
    match content:
        case None:
            return ()
        case str():
            return _text(content)
        case list():
            return _parts(content, path, role)
        case dict() if role is Role.tool or content.get("type"):
            # Some tool runners answer with a bare object, some clients with a single part.
            return _parts([content], path, role) if content.get("type") else _text(_to_text(content))
        case _:
            refuse(path, "a string, an array of parts or null", content)


def _refusal(fields: Fields) -> tuple[Part, ...]:
    text = fields.string("refusal")
    return (TextPart(text, refusal=True),) if text else ()


def _text(text: str) -> tuple[Part, ...]:
    return (TextPart(text),) if text else ()


def _parts(items: list[Any], path: str, role: Role) -> tuple[Part, ...]:
    parts: list[Part] = []
    for i, item in enumerate(items):
        if isinstance(item, str):
            parts.append(TextPart(item))
            continue
        fields = Fields.of(item, f"{path}[{i}]")
        kind = fields.string("type", "text" if "text" in fields.values else "")
        match kind:
            case "tool_result" if role is Role.assistant:
                parts.append(TextPart(Message(Role.user, _content(fields, Role.tool)).in_words().text))
            case "tool_result":
                parts += _content(fields, Role.tool)
            case _:
                parts.append(_part(fields, kind))
    return tuple(parts)


def _part(fields: Fields, kind: str) -> Part:
    match kind:
        case "text" | "input_text" | "output_text":
            if not isinstance(fields.values.get("text"), str):
                refuse(fields.at("text"), "a string", fields.values.get("text"))
            return TextPart(fields.string("text"), _extra(fields, _others(fields, _OF_TEXT)))
        case "refusal":
            return TextPart(fields.string("refusal"), refusal=True)
        case "redacted_thinking":
            return ReasoningPart("", redacted=_string(fields, "data"))
        case _ if kind in _THINKING:
            return ReasoningPart(str(fields.values.get(_THINKING[kind]) or ""), _string(fields, "signature"))
        case _ if any(word in kind for word in _MEDIA):
            return MediaPart(kind, fields.values)
        case _:
            _log.debug("%s: unknown part type %r", fields.path, kind)
            text = fields.values.get("text")
            if not isinstance(text, str):
                return UnknownPart(kind, fields.values)
            return TextPart(text, {name: one for name, one in fields.values.items() if name != "text"})


def _string(fields: Fields, key: str) -> str:
    value = fields.values.get(key)
    return value if isinstance(value, str) else ""


def _calls(fields: Fields) -> tuple[PastCall, ...]:
    calls = [
        _call(Fields.of(item, f"{fields.at('tool_calls')}[{i}]"))
        for i, item in enumerate(fields.array("tool_calls"))
    ]
    legacy = fields.values.get("function_call")
    if not calls and isinstance(legacy, dict):
        calls.append(_function(Fields(legacy, fields.at("function_call")), ""))
    return tuple(calls)


def _call(fields: Fields) -> PastCall:
    call_id = fields.string("id")
    if fields.values.get("function") is not None:
        return _function(fields.object("function"), call_id, _extra(fields, _others(fields, _OF_CALL)))
    if fields.values.get("custom") is not None:
        custom = fields.object("custom")
        return PastCall(call_id, custom.string("name"), custom_arguments(custom.string("input")))
    if "name" in fields.values:
        return _function(fields, call_id)
    raise BadRequest(
        f"{fields.at('function')}: expected an object, got {describe(fields.values.get('function'))}",
        param=fields.at("function"),
    )


def _function(fields: Fields, call_id: str, extra: Mapping[str, Any] | None = None) -> PastCall:
    arguments = fields.values.get("arguments")
    if arguments is None:
        arguments = "{}"
    text = arguments if isinstance(arguments, str) else _to_text(arguments)
    return PastCall(call_id, fields.string("name"), text, extra or {})


def _to_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
