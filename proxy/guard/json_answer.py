"""Checks whether an answer in words is the JSON that `response_format` asks for. Nothing is changed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from proxy.conversation.events import Event, Finish, FinishReason, RefusalDelta
from proxy.conversation.logprobs import TextWithLogprobs
from proxy.conversation.request import ChatRequest
from repair.schema import UnusableSchema, compile_schema
from repair.types import TextDelta

_log = logging.getLogger(__name__)


async def checked(events: AsyncIterator[Event], asked: ChatRequest) -> AsyncIterator[Event]:
    """The same events; the Finish of an answer in words says whether it is the JSON that was asked for."""
    text: list[str] = []
    refused = False
    async for event in events:
        refused = refused or isinstance(event, RefusalDelta)
        if isinstance(event, TextDelta | TextWithLogprobs):
            text.append(event.text)
        if isinstance(event, Finish) and event.reason is not FinishReason.tool_calls and not refused:
            problem, whole = await asyncio.to_thread(_judge, "".join(text), asked)
            if problem:
                _log.warning("the answer is not what response_format asks for: %s", problem)
            event = replace(event, answer_valid=False if problem else True if whole else None)
        yield event


def _judge(text: str, asked: ChatRequest) -> tuple[str, bool]:
    """As answer_problem(), and whether all of the schema is checked. To find either may take a while."""
    return answer_problem(text, asked), not unchecked(asked.answer_schema)


def unchecked(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The parts of an answer's schema that are not checked, each as `place: reason`."""
    if schema is None:
        return ()
    try:
        return compile_schema(schema).left_out
    except UnusableSchema as error:
        return (f"all of it: {error.message}",)


def answer_problem(text: str, asked: ChatRequest) -> str:
    """Why the text is not the JSON that the request asks for, without quoting it; "" where nothing is found
    to be wrong.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON: {error}"
    if asked.answer_schema is None:
        return "" if isinstance(value, dict) else "it is not a JSON object"
    try:
        schema = compile_schema(asked.answer_schema)
    except UnusableSchema:
        return ""
    refusal = next(iter(schema.validator.iter_errors(value)), None)
    if refusal is None:
        return ""
    keyword = refusal.schema_path[-1] if refusal.schema_path else "schema"
    return f"{keyword} at /{'/'.join(map(str, refusal.instance_path))}"
