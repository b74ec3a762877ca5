"""An engine process that ends for want of requests, and is there again when one comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.errors import EngineUnavailable
from engine.idle import IdleTimer
from engine.model import LoadedModel
from engine.types import Finished
from tests.engine.drive import alone, request

PROMPT = "a conversation that is to be there again " * 9


@contextlib.asynccontextmanager
async def started(tiny: Path, folder: Path, **fields: float) -> AsyncIterator[EngineClient]:
    client = EngineClient(EngineConfig(model=str(tiny), cache_dir=str(folder), **fields))  # type: ignore[arg-type]
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def ask(client: EngineClient, prompt: str | tuple[int, ...] = PROMPT, session: str = "s") -> Finished:
    one = request("r", prompt, session=session, max_tokens=4, ignore_eos=True)
    events = [event async for event in client.generate(one)]
    assert isinstance(events[-1], Finished)
    return events[-1]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def turn_after(end: Finished) -> tuple[int, ...]:
    return (*PROMPT.encode(), *end.completion[:-1], *b"and so on")


async def test_it_rests_and_comes_back_warm(tiny: Path, tmp_path: Path) -> None:
    async with started(tiny, tmp_path, idle_unload_s=0.3) as client:
        first = await ask(client)
        assert await client.pin_session("s")
        await until(lambda: client.stats().state == "resting" and client.stats().pid == 0)
        before = client.stats()
        await client.probe(1.0)
        (listed,) = await client.sessions()
        assert client.stats().state == "resting", "who only looks does not wake it"
        assert (listed.id, listed.turns, listed.pinned, listed.ram_bytes) == ("s", 1, True, 0)
        assert before.tokens_generated == 4
        assert before.rss_bytes == before.cache.ram_bytes == 0
        assert before.cache.disk_bytes > 0

        again = await ask(client, turn_after(first))
        assert again.cached_tokens == len(turn_after(first)) - len(b"and so on")
        assert again.cache.tier == "disk"
        assert client.stats().restarts == 0
        assert [one.pinned for one in await client.sessions()] == [True]


async def test_a_sign_of_life_starts_it_and_brings_the_prefix_into_ram(tiny: Path, tmp_path: Path) -> None:
    async with started(tiny, tmp_path) as client:
        await ask(client)
        client._supervisor.rest()
        await until(lambda: client.stats().pid == 0)
        client.prefetch_session("s")
        assert client.stats().state == "waking"
        await client.probe(1.0)  # still as it should be
        await until(lambda: client.stats().cache.ram_bytes > 0)
        client.prefetch_session("nobody")


async def test_requests_that_come_while_it_ends_are_answered(tiny: Path, tmp_path: Path) -> None:
    async with started(tiny, tmp_path) as client:
        first = await ask(client)
        client._supervisor.rest()
        answers = await asyncio.gather(ask(client, turn_after(first)), ask(client, "another", session="t"))
        assert answers[0].cached_tokens == len(turn_after(first)) - len(b"and so on")
        assert client.stats().restarts == 0


@pytest.mark.parametrize("stage", ["ending", "waking"])
async def test_a_process_that_is_killed_then_is_answered_for(tiny: Path, tmp_path: Path, stage: str) -> None:
    async with started(tiny, tmp_path) as client:
        await ask(client)
        ending = client.stats().pid
        client._supervisor.rest()
        if stage == "ending":
            os.kill(ending, signal.SIGKILL)
        asking = asyncio.create_task(ask(client))
        if stage == "waking":
            await until(lambda: client.stats().pid not in (0, ending))
            os.kill(client.stats().pid, signal.SIGKILL)
        assert (await asking).completion_tokens == 4
        assert client.stats().restarts == (stage == "waking")


async def test_a_session_is_dropped_from_disk_while_it_rests(tiny: Path, tmp_path: Path) -> None:
    async with started(tiny, tmp_path) as client:
        await ask(client)
        await ask(client, PROMPT + "of another", session="t")
        client._supervisor.rest()
        assert await client.drop_session("t")
        assert not await client.drop_session("t")
        assert (await ask(client, PROMPT)).cached_tokens == len(PROMPT) - 1, "what others need stays"


async def test_who_waits_too_long_is_told_when_to_come_again(tiny: Path, tmp_path: Path) -> None:
    async with started(tiny, tmp_path, ready_wait_s=0.0) as client:
        client._supervisor._load_s = 0.0
        client._supervisor.rest()
        with pytest.raises(EngineUnavailable, match="waking") as caught:
            await ask(client)
        await asyncio.sleep(caught.value.retry_after_s)
        await until(lambda: client.stats().state == "ready")
        assert (await ask(client)).completion_tokens == 4


async def test_closing_while_it_goes_to_rest_loses_nothing(tiny: Path, tmp_path: Path) -> None:
    async with started(tiny, tmp_path) as client:
        first = await ask(client)
        client._supervisor.rest()
        await client.close()
        assert client.stats().pid == 0
    async with started(tiny, tmp_path) as client:
        assert (await ask(client, turn_after(first))).cached_tokens > len(PROMPT)


async def test_the_timer_looks_when_the_last_request_was() -> None:
    rested: list[float] = []
    busy = True
    loop = asyncio.get_running_loop()
    timer = IdleTimer(0.1, lambda: busy, lambda: rested.append(loop.time()))
    timer.touch()
    await asyncio.sleep(0.06)
    timer.touch()
    touched = loop.time()
    await asyncio.sleep(0.25)
    assert rested == [], "something is being done"
    busy = False
    await until(lambda: bool(rested))
    assert rested[0] - touched >= 0.1
    timer.touch()
    timer.stop()
    await asyncio.sleep(0.15)
    assert len(rested) == 1
    off = IdleTimer(None, lambda: False, lambda: rested.append(0.0))
    off.touch()
    assert off._timer is None


def test_ram_is_given_back_once_its_tokens_are_on_disk(loaded: LoadedModel, tmp_path: Path) -> None:
    config = EngineConfig(model=loaded.info.path, cache_dir=str(tmp_path), cache_ram_ttl_s=0.1)
    core = EngineCore(loaded, config)
    alone(core, request("a", PROMPT, session="s"))
    assert core.stats().cache.ram_bytes > 0
    until = time.monotonic() + 30
    while core.stats().cache.ram_bytes and time.monotonic() < until:
        core.reuse._expired = 0.0  # as if the seconds between two looks had passed
        core.rest()
        time.sleep(0.02)
    stats = core.stats().cache
    assert (stats.ram_bytes, stats.stored) == (0, stats.segments)
    again = alone(core, request("b", PROMPT, session="s")).end
    assert isinstance(again, Finished)
    assert (again.cached_tokens, again.cache.tier) == (len(PROMPT) - 1, "disk")
    core.close()


def test_ram_without_a_disk_is_not_given_back(loaded: LoadedModel) -> None:
    core = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram_ttl_s=0.01))
    alone(core, request("a", PROMPT, session="s"))
    time.sleep(0.02)
    core.reuse._expired = 0.0
    core.rest()
    assert core.stats().cache.ram_bytes > 0
