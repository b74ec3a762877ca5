"""Gives the cache's threads breaks while requests decode, since their work makes the model's steps longer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class Stopped(OSError):
    """The process ends: a thread's piece of work is left undone."""


class Throttle:
    """Breaks of some threads. share: seconds of break after each second of work, while requests decode."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._hurried = threading.Event()
        self._hurried.set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """No further piece of work is begun: work() raises Stopped. From any thread, and for good."""
        self._stopped.set()
        self._hurried.set()

    def hurry(self, on: bool) -> None:
        """Turns breaks off, also one that is being taken, or on again. From any thread."""
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
        """Encloses a piece of work, which a break may follow. Raises Stopped after stop()."""
        if self._stopped.is_set():
            raise Stopped("the process ends")
        began = time.perf_counter()
        yield
        self._hurried.wait(self.share * (time.perf_counter() - began))


NO_BREAKS = Throttle(0.0)
