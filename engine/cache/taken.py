"""What a request waits for in the prefix cache, and what it gets from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.cache.radix import Segment, Tokens
from engine.cache.streaming import Joined

Wanted = tuple[bytes, bool]  # the name of a segment, and whether its states are wanted too


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request between its arrival and its place.

    locked: segments that it counts on.
    missing: segments that were not in RAM, with their states or without.
    until: when it stops waiting for them.
    reusable: tokens of its prompt that need not be computed if it waits.
    patience_s: as in PrefixCache.look.
    """

    tokens: Tokens
    locked: list[Segment]
    missing: frozenset[Wanted]
    until: float
    reusable: int
    patience_s: Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request starts from.

    join: makes the caches of its first `length` tokens, on any thread (see put_together); None where there
        are none.
    tier: ram, disk (some of it was fetched) or none.
    known: tokens that were known, used or not.
    forks: positions at which a model whose state cannot be cut should keep one, because conversations part
        there.
    """

    join: Callable[[], Iterator[Joined]] | None = None
    length: int = 0
    tier: str = "none"
    known: int = 0
    late: bool = False
    forks: tuple[int, ...] = ()


@dataclass(slots=True)
class StoreCounts:
    """Requests by where their prefix came from, and tokens."""

    ram: int = 0
    disk: int = 0
    none: int = 0
    late: int = 0  # requests that stopped waiting for the disk
    reused_tokens: int = 0
    prompt_tokens: int = 0
    refused: int = 0  # segments for which there was no room in RAM
