"""Renders probing calls with a served model's chat template, by which repair chooses its format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import InvalidRequest
from engine.template import ChatTemplate
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest
from proxy.prompts.rendering import conversations, render_tools
from repair.derived import Found, find_format, tools_of
from repair.formats import AUTO, detect_format
from repair.formats.derive import ONE, TEXT, Probe, Write, WrittenTurn, cut_turn
from repair.formats.row import Row
from repair.strict import encode
from repair.types import ToolDefinition

_USER = Message.of(Role.user, "Hello")


def find_wire(template: ChatTemplate, declared: Sequence[Row] = ()) -> Found:
    """The format of the template's own calls, in the form of history that the template takes."""
    known = detect_format(template.source)
    detected = None if known == AUTO else known
    for form in range(_forms()):
        write = writer(template, form)
        if write((ONE,), "") is None:
            continue
        found = find_format(write, detected, declared)
        if found.format is not None:
            return found
    return Found(None, "unknown")


def writes_calls(template: ChatTemplate) -> bool:
    """Whether the template writes the calls of a history at all."""
    return any(writer(template, form)((ONE,), "") is not None for form in range(_forms()))


def refusal(template: ChatTemplate) -> str:
    """Why the template refuses a conversation with a call, in its own words; "" where it takes one."""
    request = _asked((ONE,), "")
    try:
        template.write(next(conversations(request)), render_tools(request))
    except InvalidRequest as error:
        return error.message
    return ""


def _forms() -> int:
    return len(list(conversations(_asked((ONE,), ""), told_in_words=False)))


def _asked(probes: Sequence[Probe], text: str) -> ChatRequest:
    calls = tuple(PastCall(one.id, one.name, encode(one.arguments)) for one in probes)
    return ChatRequest("", (_USER, Message.of(Role.assistant, text, calls=calls)), tuple(tools_of(probes)))


def writer(template: ChatTemplate, form: int) -> Write:
    """A function that writes turns of calls as the template does, in one form of history."""

    def write(probes: tuple[Probe, ...], text: str) -> WrittenTurn | None:
        request = _asked(probes, text)
        tools: list[dict[str, Any]] | None = render_tools(request)
        history = list(conversations(request, told_in_words=False))
        if form >= len(history):
            return None
        try:
            before, opened = _render(template, history[form][:1], tools)
            full, _ = _render(template, history[form], tools)
            plain, _ = _render(template, [*history[form][:1], {"role": "assistant", "content": TEXT}], tools)
        except InvalidRequest:
            return None
        turn = cut_turn(full, before, opened, plain)
        return turn if all(one.name in turn.text for one in probes) else None

    return write


def _render(
    template: ChatTemplate, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[str, str]:
    """The conversation without and with the prompt for an answer."""
    return template.write_closed(messages, tools), template.write(messages, tools).plain


__all__ = ["Found", "ToolDefinition", "find_wire", "refusal", "writer", "writes_calls"]
