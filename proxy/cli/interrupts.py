"""Work that Ctrl-C ends in an orderly way: what it holds is closed, and its caller goes on."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def until_interrupted(
    work: Coroutine[Any, Any, T], told: Callable[[], None] = lambda: None, patience_s: float = 10.0
) -> T | None:
    """What the work returns; None where SIGINT or SIGTERM ended it before. Raises what it raises of itself.

    told: called at once at a signal.
    patience_s: how long the work may take to end, before it is cancelled again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    told()
    while not working.done():  # a library that cancels something itself can take our cancellation for its own
        working.cancel()
        await asyncio.wait({working}, timeout=patience_s)
    if working.cancelled():
        return None
    if (error := working.exception()) is not None:  # it was being ended, as a process below it may be too
        _log.info("what was interrupted ended with %s: %s", type(error).__name__, error)
        return None
    return working.result()
