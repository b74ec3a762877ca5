"""Work that Ctrl-C ends in an orderly way: what it holds is closed, and its caller goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE_S = 10.0


async def until_interrupted(work: Coroutine[Any, Any, T], told: Callable[[], None]) -> T | None:
    """What the work returns; None after SIGINT or SIGTERM, when the work has ended. Raises what it raises.

    told: called at once at a signal.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        told()
    while not working.done():  # a library that cancels something itself can take our cancellation for its own
        working.cancel()
        await asyncio.wait({working}, timeout=_PATIENCE_S)
    return None if working.cancelled() else working.result()
