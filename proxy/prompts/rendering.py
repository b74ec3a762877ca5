"""A conversation in the form that chat templates take, and plainer forms for templates that refuse that form.

Templates differ in what they accept: some have no system role, some want user and assistant to alternate,
some iterate over arguments and so need an object. Each plainer form loses a little structure and no text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from proxy.codecs.fields import MAX_DEPTH, nests_deeper
from proxy.conversation.message import Message, Part, PastCall, ResultPart, Role
from proxy.conversation.request import ChatRequest, ToolMode, tool_object

Conversation = list[dict[str, Any]]
_COMPARED = 60


def render_tools(request: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools as the template shows them to the model.

    None where the model may not call any, and where messages declare them all.
    """
    if request.tool_choice.mode is ToolMode.none or not request.listed_tools:
        return None
    return [tool_object(tool) for tool in request.listed_tools]


def conversations(
    request: ChatRequest, *, in_place: bool = True, told_in_words: bool = True
) -> Iterator[Conversation]:
    """The forms to try, best first.

    1. as the conversation is;
    2. with calls in the forms that some templates want, if there are any;
    3. with one system message at the head;
    4. with alternating turns of text.

    in_place: later system messages become the user's, where they stand; moved to the head, they would change
        everything that the model has read already.
    told_in_words: the last form, without calls.
    """
    kept = [message.in_words() for message in request.messages]
    kept = _with_answer_schema(request, without_empty_tail(kept))
    yield [_message(message, read_arguments) for message in kept]
    if any(message.calls for message in kept):
        yield [_message(message, _as_text) for message in kept]
        short = [_with_short_ids(message) for message in kept]
        yield [_message(message, read_arguments) for message in short]
        single = _one_call_each(short)
        yield [_message(message, read_arguments) for message in single]
    gathered = _late_as_user(kept) if in_place else _gather_system(kept)
    yield [_message(message, _as_object) for message in gathered]
    if told_in_words:
        yield _alternate(gathered)


def without_empty_tail(messages: Sequence[Message]) -> list[Message]:
    """Drops empty assistant messages at the end: agents keep them after an answer that held nothing."""
    kept = list(messages)
    while len(kept) > 1 and kept[-1].is_empty_answer:
        kept.pop()
    return kept


def _with_answer_schema(request: ChatRequest, messages: list[Message]) -> list[Message]:
    """Tells the model in the system message what its answer should look like."""
    if request.answer_schema is None:
        return messages
    schema = json.dumps(request.answer_schema, ensure_ascii=False)
    wish = f"Answer with one JSON value that matches this JSON Schema, and with nothing else:\n{schema}"
    if messages[0].role is Role.system:
        return [messages[0].with_text(f"{messages[0].text}\n\n{wish}"), *messages[1:]]
    return [Message.of(Role.system, wish), *messages]


def _message(message: Message, arguments: Callable[[str], Any]) -> dict[str, Any]:
    rendered: dict[str, Any] = {"role": message.role.value, "content": message.text}
    if message.reasoning:
        rendered["reasoning_content"] = message.reasoning
    if message.calls:
        rendered["tool_calls"] = [_call(call, arguments) for call in message.calls]
    if message.role is Role.tool:
        if message.call_id:
            rendered["tool_call_id"] = message.call_id
        if message.name:
            rendered["name"] = message.name
    return rendered


def _call(call: PastCall, arguments: Callable[[str], Any]) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def read_arguments(text: str) -> Any:
    """The object that a call's arguments hold, since templates write objects their own way. Without text, and
    for null, an empty object; for anything else the text itself.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if value is None:
        return {}
    return value if isinstance(value, dict) and not nests_deeper(value, MAX_DEPTH) else text


def _as_text(text: str) -> str:
    return text if text.strip() else "{}"


def _with_short_ids(message: Message) -> Message:
    """The message with ids of nine letters and digits, which some templates require."""
    return replace(message, parts=tuple(map(_part_with_short_id, message.parts)))


def _part_with_short_id(part: Part) -> Part:
    match part:
        case PastCall():
            return replace(part, id=_short_id(part.id))
        case ResultPart() if part.call_id:
            return replace(part, call_id=_short_id(part.call_id))
        case _:
            return part


def _short_id(id: str) -> str:
    return id if len(id) == 9 and id.isalnum() else hashlib.sha256(id.encode()).hexdigest()[:9]


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """Splits the calls of one message into several messages, each followed by its results."""
    told: list[Message] = []
    kept = list(messages)
    while kept:
        message = kept.pop(0)
        if len(message.calls) < 2:
            told.append(message)
            continue
        results = list(takewhile(lambda one: one.role is Role.tool, kept))
        del kept[: len(results)]
        known = {call.id for call in message.calls}
        for at, call in enumerate(message.calls):
            told.append((message if at == 0 else Message.of(Role.assistant)).with_calls((call,)))
            told += [one for one in results if one.call_id == call.id]
        told += [one for one in results if one.call_id not in known]
    return told


def holds_calls(text: str, request: ChatRequest) -> bool:
    """Whether the prompt shows the conversation's calls: the name of each and its longest text. Some
    templates leave calls out and say nothing.
    """
    for call in (call for message in request.messages for call in message.calls):
        if call.name not in text:
            return False
        leaves = sorted(_leaves(read_arguments(call.arguments)), key=len)
        longest = leaves[-1].strip()[:_COMPARED] if leaves else ""
        spellings = (longest, json.dumps(longest)[1:-1], json.dumps(longest, ensure_ascii=False)[1:-1])
        if longest and not any(one in text for one in (*spellings, repr(longest)[1:-1])):
            return False
    return True


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict() | list():
            for item in value.values() if isinstance(value, dict) else value:
                yield from _leaves(item)


def _as_object(text: str) -> dict[str, Any]:
    value = read_arguments(text)
    return value if isinstance(value, dict) else {"arguments": text}


def _gather_system(messages: Sequence[Message]) -> list[Message]:
    system = [message.text for message in messages if message.role is Role.system and message.text]
    rest = [message for message in messages if message.role is not Role.system]
    head = [Message.of(Role.system, "\n\n".join(system))] if system else []
    return head + rest


def _late_as_user(messages: Sequence[Message]) -> list[Message]:
    head = list(takewhile(lambda message: message.role is Role.system, messages))
    rest = [
        Message.of(Role.user, f"System: {message.text}") if message.role is Role.system else message
        for message in messages[len(head) :]
        if message.role is not Role.system or message.text
    ]
    return _gather_system(head) + rest


def _alternate(messages: Sequence[Message]) -> Conversation:
    """User and assistant in turn, beginning with the user; calls and results are told in words."""
    turns: Conversation = []
    for message in messages:
        role = "assistant" if message.role is Role.assistant else "user"
        text = _in_words(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n\n" + text
        else:
            turns.append({"role": role, "content": text})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": ""})
    return turns


def _in_words(message: Message) -> str:
    if message.role is Role.tool:
        return f"Result of {message.name or message.call_id or 'the tool'}:\n{message.text}"
    calls = [f"Called {call.name} with {call.arguments}" for call in message.calls]
    return "\n".join([message.text, *calls] if message.text or not calls else calls)
