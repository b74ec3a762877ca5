"""Watches where a piece of work is done, and how often at the same time."""

from __future__ import annotations

import threading
import time


class AtOnce:
    """The threads in which note() was called, and in how many of them at the same time at most."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.most = 0
        self._now = 0

    def note(self) -> None:
        """Takes a hundredth of a second, so that another call would fall into it."""
        self.threads.add(threading.get_ident())
        self._now += 1
        self.most = max(self.most, self._now)
        time.sleep(0.01)
        self._now -= 1
