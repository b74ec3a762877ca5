"""Computes how much memory KV caches may take, in bytes. The machine is read at the end of the file."""

from __future__ import annotations

import logging
import math
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("engine.memory")

SHARE_OF_RAM = 0.6  # of a machine whose memory the model shares with everything else
SHARE_OF_GPU = 0.9  # of the working set that the driver recommends
# seconds without work; a tool that takes as long does not notice the 0.1 s that fresh memory takes
SPARE_S = 30.0
GROWTH_BOUND = 256 * 2**20
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class KvCost:
    """Bytes of cache per sequence: `fixed`, and `per_token` for each of its tokens."""

    fixed: int
    per_token: int

    def tokens(self, budget: int) -> int:
        """Tokens of cache that fit into `budget` bytes; for a model whose cache does not grow, any number."""
        return budget // self.per_token if self.per_token else 2**62


def kv_budget(limit: int, weights: int, on_gpu: bool) -> int:
    """Bytes for KV caches: the machine's share less the weights, but at least 1/16 of the share."""
    share = int(limit * (SHARE_OF_GPU if on_gpu else SHARE_OF_RAM))
    return max(share - weights, share // 16)


def split_budget(total: int, kv_asked: int | None, cache_asked: int | None) -> tuple[int, int]:
    """Splits `total` bytes into those for the caches of running requests and those for the prefix cache.

    What was asked for is given; otherwise the prefix cache gets a quarter.
    """
    if kv_asked is not None:
        return kv_asked, kv_asked // 3 if cache_asked is None else cache_asked
    cache = total // 4 if cache_asked is None else cache_asked
    return max(total - cache, total // 4), cache


def machine_memory() -> int:
    """Bytes of RAM that this process may use: the machine's, or its container's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else "max"
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def resident_bytes() -> int:
    """Memory of this process in RAM; where the system only tells the most that it ever was, that."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


@dataclass(slots=True)
class MemoryWatch:
    """Warns, once for each `bound` bytes, when memory that nobody accounts for has grown.

    Each series starts at the most seen during the first observations.
    """

    bound: int = GROWTH_BOUND
    every_s: float = 10.0
    settle: int = 6  # observations
    seen: int = 0
    last: float = -math.inf
    base: dict[str, int] = field(default_factory=dict)

    def due(self, now: float) -> bool:
        """Whether it is time for another observation."""
        return now - self.last >= self.every_s

    def observe(self, now: float, sizes: dict[str, int]) -> list[str]:
        """Takes an observation; returns the names that were warned of. sizes: bytes by name, less what is
        known to be in use.
        """
        self.seen, self.last = self.seen + 1, now
        grown: list[str] = []
        for name, size in sizes.items():
            base = self.base.get(name, 0)
            if self.seen <= self.settle:
                self.base[name] = max(base, size)
            elif size > base + self.bound:
                log.warning("%s grew from %d to %d MiB", name, base >> 20, size >> 20)
                self.base[name] = size
                grown.append(name)
        return grown


class Spare:
    """Gives memory that is kept for future work back to the machine once nothing was done for SPARE_S.

    release: gives it back.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._since: float | None = None
        self._released = False

    def work(self) -> None:
        """Something is being done."""
        self._since, self._released = None, False

    def idle(self, now: float) -> None:
        """Nothing is being done at this time; to be called now and then."""
        if self._since is None:
            self._since = now
        elif not self._released and now - self._since >= SPARE_S:
            self._released = True
            self._release()
