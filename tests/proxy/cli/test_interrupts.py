"""Ctrl-C ends a command's work, also where a library takes the cancellation for its own."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from proxy.cli.interrupts import until_interrupted
from proxy.conversation.errors import StartError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_work_that_swallows_a_cancellation_is_cancelled_again(number: signal.Signals) -> None:
    cancelled = 0
    told: list[str] = []

    async def stubborn() -> bool:
        nonlocal cancelled
        os.kill(os.getpid(), number)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled > 1:
                    raise

    assert await until_interrupted(stubborn(), lambda: told.append("stopping"), patience_s=0.05) is None
    assert cancelled == 2
    assert told == ["stopping"]


async def test_work_that_ends_is_handed_on() -> None:
    async def quick() -> bool:
        return False

    assert await until_interrupted(quick()) is False


async def test_work_that_fails_is_told_unless_it_was_interrupted() -> None:
    """The same Ctrl-C ends the processes that the work waits for."""

    async def failing() -> str:
        raise StartError("the engine ended")

    async def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await failing()
        return "not interrupted"

    with pytest.raises(StartError):
        await until_interrupted(failing())
    assert await until_interrupted(interrupted()) is None
