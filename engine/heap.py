"""Controls the C library's heap (glibc): one heap for all threads, freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 24 * 2**20
EVERY_S = 0.25  # a call, and the fresh memory after it, took about 30 ms of CPU time


M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # options of mallopt(3) in glibc's malloc.h


def one_heap() -> bool:
    """Lets all threads of this process share one heap; returns whether that is possible here. To be called
    before other threads exist.

    glibc gives each thread a heap of its own. Memory that one thread frees cannot be used by another, and how
    much lies unused in each heap depends on which threads happened to do what.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1))
    except (AttributeError, OSError):  # another C library
        return False


def map_blocks(least: int) -> bool:
    """Has each block of `least` bytes or more mapped for itself, so that it goes back to the system at once
    when it is freed; returns whether that is possible here.

    glibc otherwise takes such blocks (up to 32 MB) from the heap once a larger one has been freed, and keeps
    them.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, least))
    except (AttributeError, OSError):  # another C library
        return False


def give_back() -> bool:
    """Returns all whole free pages of the heap to the system; returns whether that is possible here. Takes 10
    to 50 ms.

    glibc keeps freed memory that lies below something still in use, in every one of its heaps.
    """
    if sys.platform != "linux":
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library
        return False
    return True


@dataclass(slots=True)
class HeapWatch:
    """Gives memory back when more than `slack` bytes are in use beyond the least that was.

    trim: see give_back().
    """

    trim: Callable[[], bool] = give_back
    slack: int = SLACK
    every_s: float = EVERY_S
    trims: int = 0
    _least: float = math.inf
    _last: float = -math.inf

    def look(self, now: float, measure: Callable[[], int]) -> None:
        """To be called often; looks once in every_s. measure: returns the bytes in use that are not arrays of
        MLX.
        """
        if now - self._last < self.every_s:
            return
        self._last = now
        others = measure()
        self._least = min(self._least, others)
        if others > self._least + self.slack and self.trim():
            self.trims += 1
            self._least = measure()  # what is still there is in use
