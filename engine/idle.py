"""Decides when the engine process is to end for want of requests. Belongs to one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_AGAIN_S = 1.0  # how soon to look again where the time has come while something is still being done


class IdleTimer:
    """Calls `rest` when nothing was asked for `after_s` seconds; None: never. busy: whether something is
    being done.

    There is one timer at a time. A request does not move it: the timer looks when the last request was.
    """

    def __init__(self, after_s: float | None, busy: Callable[[], bool], rest: Callable[[], None]) -> None:
        self._after_s = after_s
        self._busy = busy
        self._rest = rest
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Something was asked for, or the last of it was delivered."""
        if self._after_s is not None:
            self._last = asyncio.get_running_loop().time()
            if self._timer is None:
                self._look_in(self._after_s)

    def stop(self) -> None:
        """Stops the timer until the next touch()."""
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
