"""How much KV cache fits, in bytes. The arithmetic is pure; the one reading of the machine is at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SHARE_OF_RAM = 0.6  # of a machine whose memory the model shares with everything else
SHARE_OF_GPU = 0.9  # of what the driver recommends as a working set
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class KvCost:
    """Bytes of cache per sequence: `fixed`, and `per_token` for each token in it."""

    fixed: int
    per_token: int

    def tokens(self, budget: int) -> int:
        """Tokens of cache that fit into `budget` bytes; a model whose cache does not grow fits any number."""
        return budget // self.per_token if self.per_token else 2**62


def kv_budget(asked: int | None, limit: int, weights: int, on_gpu: bool) -> int:
    """Bytes for KV caches: those asked for, or the machine's share less the weights; 1/16 of it at least."""
    if asked is not None:
        return asked
    share = int(limit * (SHARE_OF_GPU if on_gpu else SHARE_OF_RAM))
    return max(share - weights, share // 16)


def machine_memory() -> int:
    """Bytes of RAM this process may use: the machine's, or its container's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else "max"
        limits += [int(text)] if text.isdigit() else []
    return min(limits)
