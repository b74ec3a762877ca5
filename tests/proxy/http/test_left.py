"""A client that leaves just when its answer begins: nothing that was opened for it stays open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from unittest.mock import Mock

import pytest

from proxy.http.sse import ClientGone, run_while_connected
from proxy.upstreams.base import UpstreamEvent
from proxy.upstreams.remote.generation import HostedGeneration


async def gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


class Opened:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("stubborn", [True, False])
async def test_what_is_opened_for_nobody_is_closed(stubborn: bool) -> None:
    opened = Opened()

    async def work() -> Opened:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise
        return opened

    with pytest.raises(ClientGone):
        await run_while_connected(gone, work(), drop=lambda late: late.aclose())
    assert opened.closed == stubborn


async def test_it_is_closed_too_when_the_server_ends() -> None:
    opened = Opened()

    async def work() -> Opened:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return opened

    waiting = asyncio.create_task(run_while_connected(never, work(), drop=lambda late: late.aclose()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert opened.closed == 1


async def test_what_the_client_gets_stays_open() -> None:
    opened = Opened()

    async def work() -> Opened:
        return opened

    assert await run_while_connected(never, work(), drop=lambda late: late.aclose()) is opened
    assert opened.closed == 0


async def begin() -> list[UpstreamEvent]:
    await asyncio.sleep(60)
    return []


@pytest.mark.parametrize("steps", range(5))
async def test_who_leaves_while_an_upstream_begins_is_not_kept(steps: int) -> None:
    """Whatever step of the event loop the cancellation meets, before the waiting is over it is seen."""
    generation = HostedGeneration.__new__(HostedGeneration)
    generation._sources = Mock(window_s=5.0)
    generation._begun = asyncio.Event()
    generation._first = asyncio.create_task(begin())
    admitting = asyncio.create_task(generation.admit())
    await asyncio.sleep(0)
    generation._begun.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    ended = admitting.done()
    admitting.cancel()
    await asyncio.wait({admitting})
    assert admitting.cancelled() is not ended
    generation._first.cancel()
