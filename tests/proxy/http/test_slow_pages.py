"""Pages whose reader takes nothing: left behind, counted, and cut off."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from proxy.conversation.errors import Overloaded
from proxy.http.connection import ABORT, HttpConnection
from proxy.http.page.feed import MOST_PAGES, MOST_WAITING, Feed
from proxy.http.page_stream import PageStream
from proxy.http.server import HttpServer, bind
from proxy.records.activity import KEPT, Activity
from tests.proxy.http.test_page import after_first, end, sources
from tests.proxy.records.test_ledger import FIX


async def test_a_slow_reader_is_left_behind() -> None:
    feed = Feed(sources(), tick_s=0.001)
    slow, quick = await after_first(feed), await after_first(feed)
    for _ in range(MOST_WAITING + 5):
        await anext(quick)
    assert feed.pages == 1
    assert [event async for event in slow] == [], "not even what had waited for it"
    quick.close()


async def test_pages_that_were_left_behind_count_until_they_are_closed() -> None:
    feed = Feed(sources(), tick_s=0.001)
    pages = [await after_first(feed) for _ in range(MOST_PAGES)]
    while feed.pages:
        await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        feed.open()
    pages[0].close()
    feed.open().close()
    feed.close()


async def never(message: Message | None = None) -> Any:
    await asyncio.Event().wait()


def stop(feed: Feed) -> None:
    asyncio.get_running_loop().call_later(0.05, feed.close)


@pytest.mark.parametrize(
    ("tick_s", "meanwhile"),
    [(0.001, lambda feed: None), (3600, stop)],
    ids=["left behind", "the server stops"],
)
async def test_a_page_that_takes_nothing_is_cut_off(tick_s: float, meanwhile: Callable[[Feed], None]) -> None:
    feed = Feed(sources(), tick_s)
    page = feed.open()
    aborted: list[bool] = []
    meanwhile(feed)
    scope = {"type": "http", "extensions": {ABORT: {"call": lambda: aborted.append(True)}}}

    async def send(message: Message) -> None:
        if message.get("body"):
            await never()

    before = asyncio.all_tasks()
    async with asyncio.timeout(10):
        await PageStream(page)(scope, never, send)
    assert aborted == [True]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


async def test_a_connection_whose_reader_has_stopped_is_cut_off() -> None:
    activity = Activity()
    end(activity, KEPT, fixes=(replace(FIX, before="x" * 2000),) * 50)
    feed = Feed(sources(activity=activity), tick_s=0.01)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PageStream(feed.open())(scope, receive, send)

    config = uvicorn.Config(app, lifespan="off", log_level="error", http=HttpConnection)
    server = HttpServer(config)
    with bind("127.0.0.1", 0) as listener:
        serving_task = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1], limit=4096)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readline()
        async with asyncio.timeout(20):
            while not server.server_state.connections:
                await asyncio.sleep(0.01)
            while server.server_state.connections:  # nothing is read here
                await asyncio.sleep(0.01)
        writer.close()
        feed.close()
        await server.end()
        await serving_task
