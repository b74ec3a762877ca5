"""Deadlines: at every stage a request whose time is over ends with its own error, and nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.errors import DeadlineExceeded
from engine.frames import Abort, encode
from engine.model import LoadedModel
from engine.types import Failed, Finished, Priority, TextChunk
from engine.worker import Disconnected, Link
from tests.engine.drive import Told, alone, collect, request

PATIENCE_S = 60.0


@pytest.fixture
def small_steps(loaded: LoadedModel) -> EngineCore:
    config = EngineConfig(model=loaded.info.path, prefill_step=32, prefill_step_min=32, max_batch=2)
    return EngineCore(loaded, config)


class Clock:
    """Stands still, but for what a test lets pass."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now


def at_once(core: EngineCore) -> None:
    core.submit(request("late", deadline_s=PATIENCE_S))


def held(core: EngineCore) -> None:
    core.submit(request("late", deadline_s=PATIENCE_S, grammar="start: /[ab]+/"))


def waiting(core: EngineCore) -> None:
    for n in range(2):
        core.submit(request(f"busy{n}", max_tokens=40, ignore_eos=True))
    core.step()
    core.submit(request("late", deadline_s=PATIENCE_S))


def prefilling(core: EngineCore) -> None:
    core.submit(request("late", "l" * 400, deadline_s=PATIENCE_S))
    core.step()
    assert core.stats().running == 1


def paused(core: EngineCore) -> None:
    core.submit(request("late", "l" * 400, priority=Priority.background, deadline_s=PATIENCE_S))
    core.step()
    core.submit(request("short", "s" * 40, max_tokens=4))
    core.step()
    assert core.stats().running == 2


def decoding(core: EngineCore) -> None:
    core.submit(request("late", max_tokens=400, ignore_eos=True, deadline_s=PATIENCE_S))
    for _ in range(3):
        core.step()
    assert core.stats().running == 1


@pytest.mark.parametrize("stage", [at_once, held, waiting, prefilling, paused, decoding])
def test_a_deadline_ends_a_request_at_every_stage(
    small_steps: EngineCore, stage: Callable[[EngineCore], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("engine.core.time", clock)
    core = small_steps
    stage(core)
    assert core.stats().expired == 0
    clock.now += PATIENCE_S
    told = {id: Told() for id in ("late", "busy0", "busy1", "short")}
    collect(told, core.step())
    end = told["late"].end
    assert isinstance(end, Failed)
    assert end.code == "deadline_exceeded"
    while core.busy:
        collect(told, core.step())
    assert not any(isinstance(one.end, Failed) for id, one in told.items() if id != "late")
    stats = core.stats()
    assert (stats.running, stats.waiting, stats.cache_bytes, stats.expired) == (0, 0, 0, 1)


def test_what_ends_in_time_is_not_touched_later(core: EngineCore) -> None:
    assert alone(core, request("r", max_tokens=3, ignore_eos=True, deadline_s=0.5)).tokens == 3
    again = request("r", max_tokens=500, ignore_eos=True, deadline_s=100.0)
    core.submit(again)
    time.sleep(0.5)
    events = [event for _ in range(3) for event in core.step()]
    assert not any(isinstance(event, Failed) for event in events)
    assert core.stats().expired == 0
    core.abort("r")


def test_rest_is_no_longer_than_until_the_next_deadline(
    core: EngineCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert core.rest_s(0.5) == 0.5
    with monkeypatch.context() as patched:
        patched.setattr(core._grammars, "compile", lambda text: Future())  # that never ends
        core.submit(request("r", deadline_s=0.2, grammar="start: /a+/"))
    assert 0.0 < core.rest_s(0.5) <= 0.2
    assert core.rest_s(0.1) == 0.1
    core.abort("r")
    assert core.rest_s(0.0) == 0.0
    assert core.rest_s(0.5) == 0.5, "it is over"


def test_a_grammar_that_is_compiled_wakes_the_engine(core: EngineCore) -> None:
    woken = threading.Event()
    core.wakes(woken.set)
    core.submit(request("r", grammar="start: /a+/"))
    assert woken.wait(10)
    core.step()
    assert core.rest_s(0.5) == 0.0, "it runs"
    core.abort("r")


def test_waking_ends_a_wait_for_frames() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(Link(ours)) as link:
        threading.Timer(0.05, link.wake).start()
        began = time.monotonic()
        assert link.receive(20.0) == []
        assert time.monotonic() - began < 10
        for _ in range(100_000):
            link.wake()  # never blocks
        theirs.sendall(encode(Abort("a")))
        assert link.receive(20.0) == [Abort("a")]
        assert link.receive(0.0) == []


@pytest.mark.parametrize("unread", [b"", b"x"], ids=["at rest", "before it had read all"])
def test_a_client_that_was_killed_is_gone_and_no_fault(unread: bytes) -> None:
    """A socket that is closed with something unread resets the connection."""
    ours, theirs = socket.socketpair()
    with ours, contextlib.closing(Link(ours)) as link:
        ours.sendall(unread)
        theirs.close()
        with pytest.raises(Disconnected):
            link.receive(20.0)


async def ended(client: EngineClient, **fields: Any) -> tuple[int, Exception | Finished]:
    """Tokens it said, and how it ended."""
    said = 0
    try:
        async for event in client.generate(request(ignore_eos=True, **fields)):
            if isinstance(event, Finished):
                return said, event
            assert isinstance(event, TextChunk)
            said += event.tokens
    except DeadlineExceeded as error:
        return said, error
    raise AssertionError("neither end nor error")


async def test_deadlines_across_processes_hangs_and_restarts(tiny: Path) -> None:
    client = EngineClient(EngineConfig(model=str(tiny), ready_wait_s=30.0))
    await client.start()
    try:
        said, end = await ended(client, max_tokens=500, deadline_s=0.3)
        assert isinstance(end, DeadlineExceeded)
        assert end.deadline_s == 0.3
        assert said > 0
        await client.probe(10.0)
        assert client.stats().expired == 1
        assert client.stats().running == 0
        _, end = await ended(client, max_tokens=5, deadline_s=30.0)
        assert isinstance(end, Finished)

        os.kill(client.stats().pid, signal.SIGSTOP)
        _, end = await ended(client, max_tokens=5, deadline_s=0.2)
        assert isinstance(end, DeadlineExceeded), "the process hangs; the client keeps the deadline"
        os.kill(client.stats().pid, signal.SIGKILL)
        while client.stats().state == "ready":
            await asyncio.sleep(0.01)
        _, end = await ended(client, max_tokens=5, deadline_s=0.05)
        assert isinstance(end, DeadlineExceeded), "no process is there, and none comes in time"
        _, end = await ended(client, max_tokens=5, deadline_s=60.0)
        assert isinstance(end, Finished)
        assert client.stats().running == 0
    finally:
        await client.close()
