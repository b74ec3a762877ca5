"""The `messages` of a Chat Completions request, as real agents send them.

An agent cannot mend its history, so a history is refused only where a field has a type that says nothing:
argument strings that are no JSON, null contents, unknown roles and unknown parts are all taken.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from proxy.codecs.fields import Fields, describe, refuse
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import Message, PastCall, Role

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
_THINKING = {"thinking": "thinking", "reasoning": "text", "redacted_thinking": "", "reasoning_text": "text"}


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
    text, thought = _content(fields, role)
    if role is Role.assistant:
        return Message(role, text, reasoning=_reasoning(fields) or thought, calls=_calls(fields))
    if role is Role.tool:
        return Message(role, text, call_id=fields.string("tool_call_id"), name=fields.string("name"))
    return Message(role, text)


def _reasoning(fields: Fields) -> str:
    for key in ("reasoning_content", "reasoning", "thinking"):
        value = fields.values.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def _content(fields: Fields, role: Role) -> tuple[str, str]:
    """The text and the thinking that stand in `content`."""
    content = fields.values.get("content")
    path = fields.at("content")
    match content:
        case None:
            return fields.string("refusal"), ""
        case str():
            return content, ""
        case list():
            return _parts(content, path, role)
        case dict() if role is Role.tool or content.get("type"):
            # Some tool runners answer with a bare object, some clients with a single part.
            return _parts([content], path, role) if content.get("type") else (_to_text(content), "")
        case _:
            refuse(path, "a string, an array of parts or null", content)


def _parts(parts: list[Any], path: str, role: Role) -> tuple[str, str]:
    texts: list[str] = []
    thoughts: list[str] = []
    for i, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        fields = Fields.of(part, f"{path}[{i}]")
        kind = fields.string("type", "text" if "text" in fields.values else "")
        if kind in _THINKING:
            thoughts.append(str(fields.values.get(_THINKING[kind]) or ""))
        else:
            texts.append(_part_text(fields, kind))
    # The parts of an answer are one text that was cut; other parts are texts of their own.
    return ("" if role is Role.assistant else "\n").join(texts), "".join(thoughts)


def _part_text(fields: Fields, kind: str) -> str:
    match kind:
        case "text" | "input_text" | "output_text":
            if not isinstance(fields.values.get("text"), str):
                refuse(fields.at("text"), "a string", fields.values.get("text"))
            return fields.string("text")
        case "refusal":
            return fields.string("refusal")
        case "tool_result":
            return _content(fields, Role.tool)[0]
        case _ if any(word in kind for word in _MEDIA):
            # A text-only model must not end an agent run because a tool returned a picture.
            return f"[{kind} omitted: this model reads text only]"
        case _:
            _log.debug("%s: unknown part type %r", fields.path, kind)
            text = fields.values.get("text")
            return text if isinstance(text, str) else f"[{kind or 'part'} omitted]"


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
        return _function(fields.object("function"), call_id)
    if fields.values.get("custom") is not None:
        custom = fields.object("custom")
        return PastCall(call_id, custom.string("name"), _to_text({"input": custom.string("input")}))
    if "name" in fields.values:
        return _function(fields, call_id)
    raise BadRequest(
        f"{fields.at('function')}: expected an object, got {describe(fields.values.get('function'))}",
        param=fields.at("function"),
    )


def _function(fields: Fields, call_id: str) -> PastCall:
    arguments = fields.values.get("arguments")
    if arguments is None:
        arguments = "{}"
    text = arguments if isinstance(arguments, str) else _to_text(arguments)
    return PastCall(call_id, fields.string("name"), text)


def _to_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
