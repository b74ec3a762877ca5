"""Recognises an answer that announces a step ("Let me check the file.") but calls no tool."""

from __future__ import annotations

import re

from proxy.conversation.message import Role
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.guard.attempt import Attempt
from repair.types import Problem

ANNOUNCED = Problem("", "announced_call", "the answer announces a step, and no call of a tool came with it")

# English only: answers in other languages are not asked again. The last sentence of the answer has to begin
# like this and must not be a question. A sentence that is addressed to the user ("I will remind you")
# promises something and announces no step.
_LONGEST = 300
_SENTENCE = re.compile(r"(?:(?<=[.!?:])|(?<=\n))\s+")
_BEGINS = re.compile(
    r"(?:(?:ok(?:ay)?|now|next|first|then|so|great|good|perfect|alright|sure|done)\b[\s,.!:]*)*"
    r"(?:let me|let['\u2019]s|let us|i(?:['\u2019]ll| will| shall|['\u2019]m going to| am going to))"
    r"(?: (?:now|next|first|then|also|just|quickly|try to|go ahead and|start by|begin by))*"
    r" (?!\w+ you\b)(?!know\b|be\b|wait\b|explain\b|summari[sz]e\b|stop\b|leave\b|assume\b)[a-z]+",
    re.IGNORECASE,
)


def announces(request: ChatRequest, attempt: Attempt) -> bool:
    """Whether a whole turn right after a tool's result ends in a sentence that begins like "I will now",
    although tools may be called.
    """
    callable_ = bool(request.tools) and request.tool_choice.mode is not ToolMode.none
    if not callable_ or attempt.calls or attempt.cut or attempt.filtered or not request.messages:
        return False
    return request.messages[-1].role is Role.tool and announces_step(attempt.text)


def announces_step(text: str) -> bool:
    """Whether the last sentence of a text says what its writer is about to do."""
    last = _SENTENCE.split(text.strip()[-_LONGEST:])[-1].strip("*_ ")
    return not last.endswith("?") and _BEGINS.match(last) is not None
