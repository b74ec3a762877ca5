"""A segment as the folder keeps it in mind, and what it counts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BufferedReader

from engine.cache.record import CHUNK, DIGEST, Record
from engine.cache.throttle import Throttle

BLOCK = 4096


def blocks(size: int) -> int:
    """What a file of this size takes on disk."""
    return -(-size // BLOCK) * BLOCK


@dataclass(slots=True)
class CacheEntry:
    """A record as the folder keeps it in mind: without its tokens. children: records that name it parent."""

    fingerprint: str
    model: str
    parent: bytes | None
    tokens: int
    size: int
    checksum: bytes
    used: float
    children: int = 0


@dataclass(slots=True)
class DiskCounts:
    """gone: removed by another process. outages: times that writing stopped."""

    written: int = 0
    read: int = 0
    damaged: int = 0
    evicted: int = 0
    gone: int = 0
    outages: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What is otherwise on disk than it was. fresh: parents before what goes on from them."""

    fresh: tuple[Record, ...]
    gone: frozenset[bytes]


def checks(file: BufferedReader, entry: CacheEntry, breaks: Throttle) -> bool:
    """Whether it has the size and checksum of its record; leaves it at its beginning."""
    if file.seek(0, 2) != entry.size:
        return False
    file.seek(0)
    digest = hashlib.sha256()
    left = entry.size
    while left > 0:
        with breaks.work():
            chunk = file.read(CHUNK)
            digest.update(chunk)
        left = left - len(chunk) if chunk else 0
    file.seek(0)
    return digest.digest()[:DIGEST] == entry.checksum
