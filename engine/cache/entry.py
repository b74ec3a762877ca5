"""What is kept in memory of each segment on disk, and the counters of the folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BufferedReader

from engine.cache.record import CHUNK, DIGEST, Record
from engine.cache.throttle import Throttle

BLOCK = 4096


def blocks(size: int) -> int:
    """Bytes that a file of this size takes on disk."""
    return -(-size // BLOCK) * BLOCK


@dataclass(slots=True)
class CacheEntry:
    """A record in memory: without its tokens. children: how many records name it as their parent."""

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
    """Counters of a folder. gone: removed by another process. outages: times that writing stopped."""

    written: int = 0
    read: int = 0
    damaged: int = 0
    evicted: int = 0
    gone: int = 0
    outages: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed on disk. fresh: new records, parents before their continuations."""

    fresh: tuple[Record, ...]
    gone: frozenset[bytes]


def checks(file: BufferedReader, entry: CacheEntry, breaks: Throttle) -> bool:
    """Whether the file has the size and checksum of its record; leaves the file at its beginning."""
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
