"""Watches the memory of a serving process: freed memory is given back, unexplained growth is reported."""

from __future__ import annotations

import time

from engine.cache.manager import CacheManager
from engine.heap import HeapWatch
from engine.memory import MemoryWatch, resident_bytes
from engine.runner import Runner


class Footprint:
    """The memory of one engine. on_gpu: arrays of MLX are in a memory of their own."""

    def __init__(self, runner: Runner, reuse: CacheManager, on_gpu: bool) -> None:
        self._runner = runner
        self._reuse = reuse
        self._on_gpu = on_gpu
        self._growth = MemoryWatch()
        self._heap = HeapWatch()

    def watch(self) -> None:
        """To be called now and then: gives freed memory back, and reports memory that grows without a cache
        that accounts for it.
        """
        now = time.monotonic()
        self._heap.look(now, self._other_bytes)
        if self._growth.due(now):
            kept = self._runner.memory_bytes() - self._runner.cache_bytes() - self._reuse.nbytes
            others = self._other_bytes()
            self._growth.observe(now, {"memory of MLX beyond the caches": kept, "memory outside MLX": others})

    def _other_bytes(self) -> int:
        """Bytes in RAM that are not arrays of MLX."""
        arrays = 0 if self._on_gpu else self._runner.memory_bytes() + self._runner.spare_bytes()
        return resident_bytes() - arrays
