"""Threads that work beside those who decode take breaks: their work makes the steps of the others longer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class Stopped(OSError):
    """The process ends: what a thread was in the middle of is left undone."""


class Throttle:
    """Of some threads. share: seconds of break after each second of work, while others decode."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._hurried = threading.Event()
        self._hurried.set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """The next piece of work is not begun: work() raises Stopped. For any thread, and for good."""
        self._stopped.set()
        self._hurried.set()

    def hurry(self, on: bool) -> None:
        """Without breaks from now on, one that is being taken included; or with them. For any thread."""
        if on:
            self._hurried.set()
        else:
            self._hurried.clear()

    @property
    def hurried(self) -> bool:
        """Whether no breaks are taken."""
        return self._hurried.is_set()

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """Around a piece of work, which a break may follow. Raises Stopped after stop()."""
        if self._stopped.is_set():
            raise Stopped("the process ends")
        began = time.perf_counter()
        yield
        self._hurried.wait(self.share * (time.perf_counter() - began))


NO_BREAKS = Throttle(0.0)
