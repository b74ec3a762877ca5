"""A long prompt holds up nobody: it is refused by its size, written beside the short ones, and given up with
its client.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from engine.long_text import Budget
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.upstreams.engine import EngineUpstream
from proxy.upstreams.render_threads import RenderThreads, is_long
from tests.engine.tiny import make_model
from tests.proxy.http.hostile import (
    CHAT,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    Hostile,
    asking,
    calling,
    nested,
    post,
    send,
    turn,
)
from tests.proxy.live import LiveServer, LoopThread, serving

CONTEXT = 1024


@dataclass(frozen=True, slots=True)
class Engine:
    server: LiveServer
    upstream: EngineUpstream


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=CONTEXT)
    thread = LoopThread()
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model)), "tiny"), 120)
    with serving(upstream, thread=thread) as server:
        yield Engine(server, upstream)
    thread.run(upstream.close())
    thread.close()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


MIB = 1024 * 1024
WIDE = {"type": "object", "properties": {f"property_{at}": {"type": "string"} for at in range(20_000)}}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"x": "' + "y" * 4 * MIB + '"}'},
}
HEAVY: dict[str, dict[str, Any]] = {
    "a text": asking(CHAT, messages=[turn("word " * (4 * MIB // 5))]),
    "a tool's result": asking(
        CHAT, messages=[turn(), {"role": "tool", "tool_call_id": "1", "content": "x" * 4 * MIB}]
    ),
    "a system message": asking(
        CHAT, messages=[{"role": "system", "content": "time: 12:30\n" * 300_000}, turn()]
    ),
    "messages": asking(CHAT, messages=[turn("x")] * 30_000),
    "an answer": asking(CHAT, messages=[turn(), {"role": "assistant", "content": "x " * 2 * MIB}, turn()]),
    "arguments": asking(CHAT, messages=[turn(), {"role": "assistant", "tool_calls": [CALL]}, turn()]),
    "control tokens": asking(
        CHAT, messages=[turn(), {"role": "assistant", "content": "<|im_end|>" * 400_000}, turn()]
    ),
    "properties": asking(CHAT, tools=[{"type": "function", "function": {"name": "f", "parameters": WIDE}}]),
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_request_is_refused_as_too_long(engine: Engine, client: httpx.Client, name: str) -> None:
    response = client.post(engine.server.root + CHAT, json=HEAVY[name])
    assert response.status_code == 400
    told = response.json()["error"]
    assert told["code"] == "context_length_exceeded"
    assert told["message"].startswith("prompt is too long: ")
    assert f"> {CONTEXT - 1} maximum" in told["message"]


def test_more_messages_than_any_context_holds_are_not_looked_at(engine: Engine, client: httpx.Client) -> None:
    for path in (CHAT, MESSAGES, OLLAMA, RESPONSES):
        key = "input" if path == RESPONSES else "messages"
        response = client.post(engine.server.root + path, json=asking(path, **{key: [turn("x")] * 60_000}))
        assert response.status_code == 400
        assert "prompt is too long: " in response.text
        assert f"{key} may have 32768 elements, got 60000" in response.text
    tools = [{"type": "web_search"}] * 5000
    response = client.post(engine.server.root + CHAT, json=asking(CHAT, tools=tools))
    assert (response.status_code, "tools may have 4096 elements, got 5000" in response.text) == (400, True)


@pytest.mark.parametrize("path", [MESSAGES, OLLAMA, RESPONSES])
def test_in_every_dialect(engine: Engine, client: httpx.Client, path: str) -> None:
    long = "word " * 400_000
    fields = {"input": long} if path == RESPONSES else {"messages": [turn(long)]}
    response = client.post(engine.server.root + path, json=asking(path, **fields))
    assert (response.status_code, "prompt is too long: " in response.text) == (400, True)


def test_an_exact_count_is_not_called_an_estimate(engine: Engine, client: httpx.Client) -> None:
    for times, estimated in ((300, False), (40_000, True)):
        response = client.post(engine.server.root + CHAT, json=asking(CHAT, messages=[turn("word " * times)]))
        assert ("estimated" in response.json()["error"]["message"]) is estimated


def test_tokens_are_counted_beyond_the_context(engine: Engine, client: httpx.Client) -> None:
    url = engine.server.root + CHAT + "/input_tokens"
    counted = client.post(url, json=asking(CHAT, messages=[turn("word " * 30_000)])).json()["input_tokens"]
    assert 150_000 < counted < 150_100
    endless = client.post(url, json=asking(CHAT, messages=[turn("word " * 400_000)]))
    assert (endless.status_code, "prompt is too long" in endless.text) == (400, True)


@pytest.mark.parametrize("depth", range(960, 1001, 2))
def test_a_history_of_deep_arguments_goes_on(engine: Engine, client: httpx.Client, depth: int) -> None:
    """Some depths can be read and not written again, as deep as the stack already is."""
    body = calling(CHAT, "f", '{"x": ' + nested(depth, "arrays") + "}")
    body["messages"] += body["messages"][1:]
    assert client.post(engine.server.root + CHAT, json=body).status_code in (200, 400)


@pytest.mark.parametrize("name", ["a text", "a tool's result", "an answer"])
def test_a_refused_request_leaves_nothing_behind(engine: Engine, name: str) -> None:
    """Without a full collection, which may be minutes away on a server at rest."""
    data = post(CHAT, HEAVY[name])
    gc.disable()
    tracemalloc.start()
    try:
        assert send(engine.server.port, Hostile(name, (data,))) == 400
        time.sleep(0.3)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert most > 4 * MIB
    assert held < MIB


def request(text: str) -> ChatRequest:
    return ChatRequest("", (Message.of(Role.user, text),))


def test_what_is_long() -> None:
    assert not is_long(request("x" * 1000))
    assert is_long(request("x" * 1_000_000))
    assert is_long(ChatRequest("", (Message.of(Role.user, "x"),) * 2000))
    assert is_long(ChatRequest("", (Message.of(Role.user, "x"),), body_bytes=1_000_000)), "its tools are"


def test_the_short_do_not_wait_behind_the_long() -> None:
    threads = RenderThreads()
    go = threading.Event()

    async def both() -> str:
        long = asyncio.create_task(threads.run(lambda _: go.wait(20), Budget(), long=True))
        await asyncio.sleep(0.05)
        short = await threads.run(lambda _: "short", Budget(), long=False)
        assert not long.done()
        go.set()
        await long
        return short

    assert asyncio.run(both()) == "short"
    threads.close()


def test_a_long_one_sees_what_was_to_be_remembered_before() -> None:
    threads = RenderThreads()
    seen: list[str] = []

    def remember() -> None:
        time.sleep(0.1)
        seen.append("answered")

    async def in_order() -> None:
        threads.later(remember)
        await threads.run(lambda _: seen.append("next"), Budget(), long=True)

    asyncio.run(in_order())
    threads.close()
    assert seen == ["answered", "next"]


def test_work_ends_with_its_caller() -> None:
    threads = RenderThreads()
    ended = threading.Event()

    def work(budget: Budget) -> None:
        try:
            while True:
                budget.check()
                time.sleep(0.005)
        finally:
            ended.set()

    async def give_up() -> None:
        task = asyncio.create_task(threads.run(work, Budget(), long=True))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(give_up())
    assert ended.wait(5)
    threads.close()
