"""The threads in which prompts are written and encoded: one for most, and one for the long.

So nobody waits behind a long prompt of somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from engine.long_text import Budget
from proxy.conversation.request import ChatRequest

T = TypeVar("T")

# Characters of a request's texts, and messages, from which on writing it takes longer than a short answer may
# wait.
_LONG = 131_072
_MANY = 512


def is_long(request: ChatRequest) -> bool:
    if request.raw is not None:
        return len(request.raw.content) > _LONG
    if len(request.messages) > _MANY:
        return True
    return max(request.body_bytes, sum(len(message.text) for message in request.messages)) > _LONG


class RenderThreads:
    """Runs the work on prompts outside of the event loop."""

    def __init__(self) -> None:
        self._short = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")
        self._long = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render-long")

    async def run(self, work: Callable[[Budget], T], budget: Budget, *, long: bool) -> T:
        """The result of the work. Where the caller is cancelled, work that waits is dropped, and work that
        has begun is stopped by its budget.
        """
        loop = asyncio.get_running_loop()
        try:
            if long:  # what was to be remembered before is remembered
                await loop.run_in_executor(self._short, _nothing)
            return await loop.run_in_executor(self._long if long else self._short, work, budget)
        except asyncio.CancelledError:
            budget.stop()
            raise

    def later(self, work: Callable[[], None]) -> Future[None]:
        """Runs work before any that is asked for from now on. Raises RuntimeError while the server is being
        closed.
        """
        return self._short.submit(work)

    def close(self) -> None:
        for threads in (self._short, self._long):
            threads.shutdown(wait=False, cancel_futures=True)


def _nothing() -> None:
    pass
