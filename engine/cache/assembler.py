"""A thread that puts together what new requests have in the cache, while others decode."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from engine.cache.copying import compute
from engine.cache.throttle import Throttle

Join = Callable[[], list[Any]]  # makes the caches of one sequence, which are lazy; called from any thread


class Assembler:
    """One thread, which puts the caches of requests together one after the other, in order.

    It copies what nothing else writes to, into arrays that nothing else knows before all of them are
    complete.

    breaks: as in DeviceTuning.
    """

    def __init__(self, breaks: float) -> None:
        self._pool = ThreadPoolExecutor(1, "cache-joiner")
        self.breaks = Throttle(breaks)

    def begin(self, join: Join) -> Future[list[Any]]:
        """The caches, as soon as all of their arrays are computed; raises what computing them raised. May be
        cancelled at any time.
        """
        joining: Future[list[Any]] = Future()
        self._pool.submit(self._run, joining, join)
        return joining

    def _run(self, joining: Future[list[Any]], join: Join) -> None:
        try:
            caches = join()
            compute(arrays_of([layer.state for layer in caches]), self.breaks, joining.cancelled)
        except Exception as error:  # the boundary of a thread: whoever takes the caches gets the error
            joining.set_exception(error)
        else:
            if not joining.cancelled():
                joining.set_result(caches)


def arrays_of(state: Any) -> list[mx.array]:
    """The arrays in a cache's state."""
    return [value for _, value in tree_flatten(state) if isinstance(value, mx.array)]
