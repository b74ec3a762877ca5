"""Asks for the arguments of one call as a JSON answer that fits the tool's schema, and makes the call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, Sampling, ToolChoice
from proxy.guard.attempt import Attempt
from repair.jsonl import repair_arguments
from repair.tools import Tool, ToolSet
from repair.types import Accepted, Verdict

# The key under which the model says what it lacks, so that it need not invent a value.
LACKING = "cannot_call_because"
_SHARED = ("$schema", "$defs", "definitions")
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)


def ask_for_arguments(request: ChatRequest, tool: Tool, may_answer: bool, sampling: Sampling) -> ChatRequest:
    """The request for the arguments alone. may_answer: the model may say instead what it lacks."""
    return replace(
        request,
        messages=(*request.messages, Message.of(Role.user, _instruct(tool, may_answer))),
        tools=(),
        hosted_tools=(),
        tool_choice=ToolChoice(),
        parallel_tool_calls=True,
        sampling=replace(sampling, stop=()),  # the client's stop strings are for answers in words
        json_answer=True,
        answer_schema=_schema(tool, may_answer),
        answer_extra={},
        constrained=False,
        settled={},
        fork=True,
    )


def _instruct(tool: Tool, may_answer: bool) -> str:
    schema = json.dumps(tool.definition.parameters, ensure_ascii=False)
    lines = [
        f"Now call {tool.name}. Write its arguments alone, as one JSON object that fits this schema:",
        schema,
    ]
    if may_answer:
        lines.append(
            f'If you do not know what the call needs, write {{"{LACKING}": "what is missing"}} instead.'
        )
    return "\n".join(lines)


def _schema(tool: Tool, may_answer: bool) -> Mapping[str, Any]:
    own: dict[str, Any] = {"type": "object", **tool.schema.root}
    own.pop("$schema", None)
    if not may_answer:
        return own
    lacking = {
        "type": "object",
        "properties": {LACKING: {"type": "string"}},
        "required": [LACKING],
        "additionalProperties": False,
    }
    shared = {key: own.pop(key) for key in _SHARED if key in own}
    return {**shared, "anyOf": [own, lacking]}


def read_arguments(attempt: Attempt, tool: Tool, tools: ToolSet, may_answer: bool) -> Attempt:
    """The attempt with the call that its JSON answer makes, or with the call's problems, or with a text that
    says what the model lacks.

    attempt: the answer in words.
    """
    fenced = _FENCED.fullmatch(attempt.text)
    text = (fenced.group(1) if fenced else attempt.text).strip()
    lacking = _lacking(text) if may_answer else ""
    if lacking:
        return replace(attempt, text=lacking, rest=())
    outcome = repair_arguments(tool.name, text, tools, "length" if attempt.cut else "stop")
    if isinstance(outcome, Accepted):
        verdict = Verdict.repaired if outcome.fixes else Verdict.clean
        return replace(attempt, calls=(outcome.call,), fixes=outcome.fixes, verdict=verdict, text="", rest=())
    return replace(attempt, problems=outcome.problems, verdict=Verdict.reask)


def _lacking(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    told = value.get(LACKING) if isinstance(value, dict) and len(value) == 1 else None
    return told if isinstance(told, str) else ""
