"""What this process holds in memory while it serves: what is freed goes back, what grows is told."""

from __future__ import annotations

import time

from engine.cache.manager import CacheManager
from engine.heap import HeapWatch
from engine.memory import MemoryWatch, resident_bytes
from engine.runner import Runner


class Footprint:
    """Of one engine. on_gpu: arrays of MLX lie in a memory of their own."""

    def __init__(self, runner: Runner, reuse: CacheManager, on_gpu: bool) -> None:
        self._runner = runner
        self._reuse = reuse
        self._on_gpu = on_gpu
        self._growth = MemoryWatch()
        self._heap = HeapWatch()

    def watch(self) -> None:
        """To be called now and then: gives freed memory back, and reports memory that grows though no cache
        accounts for it.
        """
        now = time.monotonic()
        self._heap.look(now, self._other_bytes)
        if self._growth.due(now):
            kept = self._runner.memory_bytes() - self._runner.cache_bytes() - self._reuse.nbytes
            others = self._other_bytes()
            self._growth.observe(now, {"memory of MLX beyond the caches": kept, "memory outside MLX": others})

    def _other_bytes(self) -> int:
        """In RAM, and no array of MLX."""
        arrays = 0 if self._on_gpu else self._runner.memory_bytes() + self._runner.spare_bytes()
        return resident_bytes() - arrays
