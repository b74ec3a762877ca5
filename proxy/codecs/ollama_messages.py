"""The messages of Ollama's API, which are those of Chat Completions in a simpler form.

Pictures stand beside the text, arguments are objects, and calls and their results may have no ids
(https://docs.ollama.com/api/chat).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from proxy.codecs.fields import Fields, refuse
from proxy.codecs.openai_messages import decode_messages
from proxy.conversation.message import Message, PastCall, ResultPart

# How the base64 of a picture's first bytes begins.
_KINDS = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp", "Qk": "bmp"}
_ADDRESSES = ("data:", "http://", "https://")
_OWN = ("images", "tool_name")


def decode_history(body: Fields) -> tuple[Message, ...]:
    """Empty where the client sends none, which asks for no answer. Raises BadRequest naming the field."""
    items = body.array("messages")
    if not items:
        return ()
    chat = [_in_chat_form(item, f"messages[{i}]") for i, item in enumerate(items)]
    return tuple(_with_ids(decode_messages(Fields({"messages": chat}))))


def _in_chat_form(item: Any, path: str) -> Any:
    """The message with its pictures in front of its text, and the name of its tool where Chat Completions has
    it. What has a wrong type stays, for who reads it to refuse.
    """
    if not isinstance(item, dict):
        return item
    fields = Fields(item, path)
    told = {key: value for key, value in item.items() if key not in _OWN}
    if item.get("tool_name"):
        told["name"] = fields.string("tool_name")
    if item.get("images"):
        content = item.get("content")
        behind = content if isinstance(content, list) else [content] if content else []
        told["content"] = [*image_parts(fields), *behind]
    return told


def image_parts(fields: Fields) -> list[dict[str, Any]]:
    """What `images` holds, in the form of Chat Completions. Raises BadRequest."""
    parts = []
    for i, image in enumerate(fields.array("images")):
        if not isinstance(image, str) or not image:
            refuse(f"{fields.at('images')}[{i}]", "a picture in base64", image)
        parts.append({"type": "image_url", "image_url": {"url": _address(image)}})
    return parts


def _address(image: str) -> str:
    if image.startswith(_ADDRESSES):
        return image
    kind = next((kind for begin, kind in _KINDS.items() if image.startswith(begin)), "png")
    return f"data:image/{kind};base64,{image}"


def _with_ids(messages: Iterable[Message]) -> Iterator[Message]:
    """Calls without an id are numbered through the conversation, so that they have the same id in each of its
    requests. A result without one is that of the first call that waits for it: of the tool that it names,
    else of any.
    """
    waiting: list[PastCall] = []
    count = 0
    for message in messages:
        result = message.result
        if message.calls:
            numbered = enumerate(message.calls, count + 1)
            waiting = [call if call.id else replace(call, id=f"call_{i}") for i, call in numbered]
            count += len(waiting)
            message = message.with_calls(waiting)
        elif result is not None and (answered := _answered(result, waiting)):
            waiting.remove(answered)
            message = replace(message, parts=(replace(result, call_id=answered.id),))
        yield message


def _answered(result: ResultPart, waiting: Sequence[PastCall]) -> PastCall | None:
    if result.call_id:
        return next((call for call in waiting if call.id == result.call_id), None)
    named = (call for call in waiting if result.name and call.name == result.name)
    return next(named, waiting[0] if waiting else None)
