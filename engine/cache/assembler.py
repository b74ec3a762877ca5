"""A thread that puts together what new requests have in the cache, while others decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from engine.cache.copying import compute
from engine.cache.streaming import Joined
from engine.cache.throttle import Throttle

# makes the caches of one sequence, in stages which are lazy (see put_together); called from any thread
Join = Callable[[], Iterator[Joined]]


class Assembler:
    """One thread, which puts the caches of requests together one after the other, in order.

    It copies what nothing else writes to, into arrays that nothing else knows before all of them are
    complete.

    breaks: as in DeviceTuning.
    """

    def __init__(self, breaks: float) -> None:
        self._pool = ThreadPoolExecutor(1, "cache-joiner")
        self.breaks = Throttle(breaks)

    def begin(self, join: Join) -> Future[Joined]:
        """The caches, as soon as all of their arrays are computed; raises what computing them raised. May be
        cancelled at any time.
        """
        joining: Future[Joined] = Future()
        self._pool.submit(self._run, joining, join)
        return joining

    def _run(self, joining: Future[Joined], join: Join) -> None:
        joined = Joined([], 0)
        try:
            for joined in join():
                compute(arrays_of([layer.state for layer in joined.caches]), self.breaks, joining.cancelled)
                if joining.cancelled():
                    return
        except Exception as error:  # the boundary of a thread: whoever takes the caches gets the error
            joining.set_exception(error)
        else:
            joining.set_result(joined)


def arrays_of(state: Any) -> list[mx.array]:
    """The arrays in a cache's state."""
    return [value for _, value in tree_flatten(state) if isinstance(value, mx.array)]
