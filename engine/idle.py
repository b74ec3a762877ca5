"""After how long without a request the engine process is to end; belongs to one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_AGAIN_S = 1.0  # where its time has come while something is still being done


class IdleTimer:
    """Calls `rest` once nothing was asked for `after_s`. busy: whether something is being done.

    One timer at a time, which is not moved by each request: it looks when the last of them was. after_s None:
    never.
    """

    def __init__(self, after_s: float | None, busy: Callable[[], bool], rest: Callable[[], None]) -> None:
        self._after_s = after_s
        self._busy = busy
        self._rest = rest
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Somebody asked for something, or got the last of it."""
        if self._after_s is not None:
            self._last = asyncio.get_running_loop().time()
            if self._timer is None:
                self._look_in(self._after_s)

    def stop(self) -> None:
        """Until the next touch()."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        assert self._after_s is not None
        left = self._last + self._after_s - asyncio.get_running_loop().time()
        if left > 0:
            self._look_in(left)
        elif self._busy():
            self._look_in(min(self._after_s, LOOK_AGAIN_S))
        else:
            self._timer = None
            self._rest()
