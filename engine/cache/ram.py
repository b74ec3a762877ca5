"""What is kept in RAM, and what goes first when it is full. Knows sizes only: no MLX, no clock."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.cache.radix import Segment

DEPTH = 8192  # tokens; a token this deep in a conversation costs twice as much to compute as the first


class Rank(enum.IntEnum):
    """Lower goes first, whatever it is worth."""

    superseded = 0  # an end that its session has left behind
    common = 1
    active = 2  # on the way to the last turn of a session that was heard of lately
    pinned = 3  # by hand


def cost(segment: Segment) -> float:
    """What computing it again would take, in tokens at the beginning of a prompt."""
    tokens = segment.end - segment.start
    return tokens * (1 + (segment.start + tokens / 2) / DEPTH)


@dataclass(slots=True)
class RamTier:
    """Segments in RAM, `budget` bytes of them at most.

    Evicts by GreedyDual-Size (Cao and Irani, 1997): a segment is worth its cost per byte on top of the worth
    of the last one that was evicted, so cost counts against recency and what is not used grows old. `unit`:
    bytes that one token takes, to make cost per byte a number near 1. Among equals the longest unused goes
    first. A segment that others in RAM go on from stays until they have gone: roots outlive leaves.
    """

    budget: int
    unit: float = 1.0
    used: int = 0
    floor: float = 0.0
    evictions: int = 0
    held: dict[bytes, Segment] = field(default_factory=dict)

    def hold(self, segment: Segment, kept: object, nbytes: int, now: float) -> list[Segment] | None:
        """Keep it; the segments that had to go for it, or None when there is no room that may be taken."""
        if segment.kept is not None:
            return []
        segment.locks += 1  # its parents must not go for it
        gone = self.make_room(nbytes, segment)
        segment.locks -= 1
        if gone is None:
            return None
        segment.kept, segment.nbytes = kept, nbytes
        self.used += nbytes
        self.held[segment.name] = segment
        self.touch([segment], now)
        return gone

    def touch(self, segments: Iterable[Segment], now: float) -> None:
        """They were used."""
        for segment in segments:
            segment.used = now
            segment.worth = self.floor + cost(segment) * self.unit / max(segment.nbytes, 1)

    def drop(self, segment: Segment) -> None:
        """Let it go; not being there is fine."""
        if self.held.pop(segment.name, None) is not None:
            self.used -= segment.nbytes
            segment.kept, segment.nbytes = None, 0

    def make_room(self, nbytes: int, newcomer: Segment | None = None) -> list[Segment] | None:
        """Evict until `nbytes` are free; None, and nothing evicted, when that cannot be.

        Nothing goes for a newcomer that outranks it.
        """
        need = self.used + nbytes - self.budget
        if need <= 0:
            return []
        above = set(ancestors(newcomer)) if newcomer is not None else set()
        most = newcomer.rank if newcomer is not None else Rank.pinned
        gone: list[Segment] = []
        leaving: set[bytes] = set()
        free = 0
        while free < need:
            found = [one for one in self.held.values() if self._may_go(one, leaving, above, most)]
            if not found:
                return None
            first = min(found, key=lambda one: (one.rank, one.worth, one.used))
            leaving.add(first.name)
            gone.append(first)
            free += first.nbytes
        for one in gone:
            self.floor = max(self.floor, one.worth)
            self.drop(one)
        self.evictions += len(gone)
        return gone

    def _may_go(self, one: Segment, leaving: set[bytes], above: set[bytes], most: int) -> bool:
        if one.locks or one.name in leaving or one.name in above or one.rank > most:
            return False
        return all(child.kept is None or child.name in leaving for child in one.children())


def ancestors(segment: Segment) -> Iterator[bytes]:
    """The names of the segments that come before it."""
    above = segment.parent
    while above is not None:
        yield above.name
        above = above.parent
