"""Ctrl-C ends the demo, also where a library takes the cancellation for its own."""

from __future__ import annotations

import asyncio
import os
import signal

from proxy.cli.demo import unless_interrupted


async def test_work_that_swallows_a_cancellation_is_cancelled_again() -> None:
    cancelled = 0

    async def stubborn() -> bool:
        nonlocal cancelled
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled > 1:
                    raise

    assert await unless_interrupted(stubborn(), patience_s=0.05) is None
    assert cancelled == 2


async def test_work_that_ends_is_handed_on() -> None:
    async def quick() -> bool:
        return False

    assert await unless_interrupted(quick()) is False
