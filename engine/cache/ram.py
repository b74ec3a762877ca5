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
    first. A segment that others in RAM go on from stays until they have gone: roots outlive leaves. What it
    can spare then goes before anything else, if it is on disk and only one goes on from it.
    """

    budget: int
    unit: float = 1.0
    used: int = 0
    floor: float = 0.0
    evictions: int = 0
    held: dict[bytes, Segment] = field(default_factory=dict)

    def hold(
        self, segment: Segment, kept: object, nbytes: int, now: float, spare: int = 0
    ) -> list[Segment] | None:
        """Keep it, in the place of what there was of it; the segments that had to go for it, or None when
        there is no room that may be taken.
        """
        more = nbytes - segment.nbytes
        segment.locks += 1  # its parents must not go for it
        gone = self.make_room(more, segment)
        segment.locks -= 1
        if gone is None:
            return None
        segment.kept, segment.nbytes, segment.spare = kept, nbytes, spare
        self.used += more
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
            segment.kept, segment.nbytes, segment.spare = None, 0, 0

    def unused(self, before: float) -> Iterator[Segment]:
        """What nobody has used since, the deepest first; not what others in RAM go on from, nor what is
        pinned. May be dropped on the way.
        """
        old = [one for one in self.held.values() if one.used < before and one.rank < Rank.pinned]
        for one in sorted(old, key=lambda one: -one.start):
            if not one.locks and all(child.kept is None for child in one.children()):
                yield one

    def _thin(self, need: int, most: int, newcomer: Segment | None) -> int:
        """Let go what can be spared, up to `need` bytes; what is still needed."""
        spare = [one for one in self.held.values() if one.spare and one.rank <= most]
        found = [one for one in spare if on_the_way(one, newcomer)]
        for one in sorted(found, key=lambda one: (one.rank, one.worth, one.used)):
            if need <= 0:
                break
            one.kept = one.kept.thin()
            need -= one.spare
            self.used -= one.spare
            one.nbytes, one.spare = one.nbytes - one.spare, 0
        return need

    def make_room(self, nbytes: int, newcomer: Segment | None = None) -> list[Segment] | None:
        """Evict until `nbytes` are free; None, and no segment evicted, when that cannot be.

        Nothing goes for a newcomer that outranks it.
        """
        need = self.used + nbytes - self.budget
        if need <= 0:
            return []
        above = set(ancestors(newcomer)) if newcomer is not None else set()
        most = newcomer.rank if newcomer is not None else Rank.pinned
        need = self._thin(need, most, newcomer)
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


def on_the_way(segment: Segment, newcomer: Segment | None) -> bool:
    """Whether what it can spare is on disk, nobody waits for it, and one segment goes on from it, in RAM or
    about to be.
    """
    if segment.locks or not segment.stored or segment.parent is None:
        return False
    children = {child.name: child for child in segment.children()}
    return len(children) == 1 and all(
        child.kept is not None or child is newcomer for child in children.values()
    )


def ancestors(segment: Segment) -> Iterator[bytes]:
    """The names of the segments that come before it."""
    above = segment.parent
    while above is not None:
        yield above.name
        above = above.parent
