"""What the C library (glibc) does with memory: one heap for all threads, and what is freed in it goes back to
the system once there is much of it.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 32 * 2**20
EVERY_S = 1.0


M_ARENA_MAX = -8  # the option of mallopt(3) in glibc's malloc.h


def one_heap() -> bool:
    """Let all threads of this process share one heap; whether that can be asked for here. To be called before
    there are others.

    glibc gives each thread a heap of its own. What one of them frees no other can use, and how much lies
    unused in each depends on which threads happened to do what.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1))
    except (AttributeError, OSError):  # another C library
        return False


def give_back() -> bool:
    """Return all whole free pages of the heap to the system; whether that can be done here at all.

    glibc keeps what was freed below something that is still in use, in every one of its heaps. 10 to 50 ms.
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
    """Gives memory back when more than `slack` bytes have come beyond the least that was in use.

    trim: see give_back().
    """

    trim: Callable[[], bool] = give_back
    slack: int = SLACK
    every_s: float = EVERY_S
    trims: int = 0
    _least: float = math.inf
    _last: float = -math.inf

    def look(self, now: float, measure: Callable[[], int]) -> None:
        """To be called often; looks once in every_s. measure: bytes in use that are no arrays of MLX."""
        if now - self._last < self.every_s:
            return
        self._last = now
        others = measure()
        self._least = min(self._least, others)
        if others > self._least + self.slack and self.trim():
            self.trims += 1
            self._least = measure()  # what is still there is in use
