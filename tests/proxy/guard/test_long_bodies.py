"""What takes long about a heavy request is done beside the event loop, and of one request at a time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import proxy.guard.json_answer
import proxy.guard.schemas
import repair.tools
from proxy.conversation.errors import ContextTooLong
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.records.request_record import Ending, RequestRecord
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script, ScriptedUpstream
from repair.schema import CompiledSchema, compile_schema
from repair.types import ToolDefinition
from tests.proxy.at_once import AtOnce

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
REQUEST = ChatRequest(
    "scripted",
    (Message.of(Role.user, "hi"),),
    (ToolDefinition("f", "", SCHEMA),),
    json_answer=True,
    answer_schema={**SCHEMA, "title": "an answer"},
    body_bytes=1_000_000,
)


class Compiled(AtOnce):
    def compile(self, parameters: Any) -> CompiledSchema:
        self.note()
        return compile_schema(parameters)


class Kept:
    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def record(self, record: RequestRecord) -> None:
        self.records.append(record)


def test_schemas_of_long_bodies_are_compiled_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Compiled()
    monkeypatch.setattr(repair.tools, "compile_schema", compiled.compile)
    monkeypatch.setattr(proxy.guard.schemas, "compile_schema", compiled.compile)
    monkeypatch.setattr(proxy.guard.json_answer, "compile_schema", compiled.compile)

    async def answer(guard: Guard) -> None:
        exchange = await guard.open(REQUEST)
        try:
            assert [event async for event in exchange.events()]
        finally:
            await exchange.aclose()

    async def all_at_once() -> None:
        guard = Guard(ScriptedUpstream(lambda request: Script(('{"city": "Lisbon"}',))), GuardPolicy())
        opened = await asyncio.gather(*(guard.open(REQUEST) for _ in range(5)))
        assert compiled.most == 1
        for exchange in opened:
            await exchange.aclose()
        await answer(guard)

    asyncio.run(all_at_once())
    assert compiled.threads
    assert threading.get_ident() not in compiled.threads


def test_nothing_is_compiled_of_what_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Compiled()
    monkeypatch.setattr(repair.tools, "compile_schema", compiled.compile)
    monkeypatch.setattr(proxy.guard.schemas, "compile_schema", compiled.compile)
    monkeypatch.setattr(proxy.guard.json_answer, "compile_schema", compiled.compile)

    def measure(request: ChatRequest) -> None:
        raise ContextTooLong(5000, 1000)

    upstream = ScriptedUpstream(
        lambda request: Script(("never",)), capabilities=Capabilities(measure=measure)
    )
    kept = Kept()
    guard = Guard(upstream, GuardPolicy(), [kept])
    with pytest.raises(ContextTooLong):
        asyncio.run(guard.open(REQUEST))
    assert not compiled.threads
    (record,) = kept.records
    assert (record.ending, record.turn, record.attempts) == (Ending.failed, 1, ())
    assert record.error.startswith("prompt is too long: 5000")
