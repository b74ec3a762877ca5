"""The RAM tier: what is kept in RAM, and what is evicted first. It knows sizes only: no MLX, no clock."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.cache.radix import Segment

DEPTH = 8192  # tokens; a token at this depth costs twice as much to compute as the first


class Rank(enum.IntEnum):
    """What is evicted first: lower ranks, whatever they are worth."""

    superseded = 0  # an end that its session has left behind
    common = 1
    active = 2  # on the way to the last turn of a session that was seen lately
    pinned = 3  # pinned by hand


def cost(segment: Segment) -> float:
    """The cost of computing it again, in tokens at the beginning of a prompt."""
    tokens = segment.end - segment.start
    return tokens * (1 + (segment.start + tokens / 2) / DEPTH)


@dataclass(slots=True)
class RamTier:
    """Segments in RAM, `budget` bytes of them at most.

    Evicts by GreedyDual-Size (Cao and Irani, 1997): a segment is worth its cost per byte on top of the worth
    of the last one that was evicted, so that cost counts against recency, and what is not used ages.
    `unit`: bytes that one token takes, which makes the cost per byte a number near 1; `fixed`: those of
    states. Among equals the longest unused is evicted first. A segment with continuations in RAM stays
    until they are evicted: roots outlive leaves. Its spare bytes are given up before any segment, if they
    are on disk and only one segment continues it. Before them go the buffers of the last turns, which hold
    nothing that segments do not.

    buffered: the segments at whose ends buffers are kept, the longest unused first. dropped: buffers that
    went for want of room.
    """

    budget: int
    unit: float = 1.0
    fixed: int = 0
    used: int = 0
    floor: float = 0.0
    evictions: int = 0
    held: dict[bytes, Segment] = field(default_factory=dict)
    buffered: dict[bytes, Segment] = field(default_factory=dict)
    dropped: int = 0

    def hold(
        self, segment: Segment, kept: object, nbytes: int, now: float, spare: int = 0
    ) -> list[Segment] | None:
        """Keeps a segment, in place of what was kept of it. Returns the segments that were evicted for it, or
        None when there is no room that may be taken.
        """
        more = nbytes - segment.nbytes
        segment.locks += 1  # its parents must not be evicted for it
        gone = self.make_room(more, segment)
        segment.locks -= 1
        if gone is None:
            return None
        segment.kept, segment.nbytes, segment.spare = kept, nbytes, spare
        self.used += more
        self.held[segment.name] = segment
        self.touch([segment], now)
        return gone

    def hold_buffers(self, segment: Segment, buffers: object, nbytes: int) -> bool:
        """Keeps buffers at the end of a segment in RAM. Older ones go for them, and then what is on disk and
        of no active session. Returns whether there was room.
        """
        self.take_buffers(segment)
        others = sum(one.buffer_bytes for one in self.buffered.values())
        need = self.used + nbytes - self.budget
        segment.locks += 1  # it must not be evicted for its own buffers
        gone = self._choose(need - others, segment, Rank.common, stored=True)
        segment.locks -= 1
        if segment.kept is None or gone is None:
            return False
        self._drop_buffers(need)
        self._evict(gone)
        segment.buffers, segment.buffer_bytes = buffers, nbytes
        self.buffered[segment.name] = segment
        self.used += nbytes
        return True

    def take_buffers(self, segment: Segment) -> Any:
        """Hands over the buffers at the end of a segment, which are kept no more; None without any."""
        buffers, segment.buffers = segment.buffers, None
        if self.buffered.pop(segment.name, None) is not None:
            self.used -= segment.buffer_bytes
            segment.buffer_bytes = 0
        return buffers

    def _drop_buffers(self, need: int) -> int:
        """Drops buffers, up to `need` bytes; returns the bytes that are still needed."""
        while need > 0 and self.buffered:
            oldest = next(iter(self.buffered.values()))
            need -= oldest.buffer_bytes
            self.take_buffers(oldest)
            self.dropped += 1
        return need

    @property
    def most_tokens(self) -> int:
        """The length of a conversation that just fits."""
        return max(0, int((self.budget - self.fixed) // self.unit))

    def touch(self, segments: Iterable[Segment], now: float) -> None:
        """Notes that the segments were used."""
        for segment in segments:
            segment.used = now
            segment.worth = self.floor + cost(segment) * self.unit / max(segment.nbytes, 1)

    def drop(self, segment: Segment) -> None:
        """Removes a segment with the buffers at its end; it need not be there."""
        self.take_buffers(segment)
        if self.held.pop(segment.name, None) is not None:
            self.used -= segment.nbytes
            segment.kept, segment.nbytes, segment.spare = None, 0, 0

    def unused(self, before: float) -> Iterator[Segment]:
        """What has not been used since, the deepest first; without segments that have continuations in RAM,
        and without pinned ones. May be removed on the way.
        """
        old = [one for one in self.held.values() if one.used < before and one.rank < Rank.pinned]
        for one in sorted(old, key=lambda one: -one.start):
            if not one.locks and all(child.kept is None for child in one.children()):
                yield one

    def _thin(self, need: int, most: int, newcomer: Segment | None) -> int:
        """Gives up spare bytes, up to `need`; returns the bytes that are still needed."""
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
        """Evicts until `nbytes` are free; None, with no segment evicted, when that is impossible.

        Nothing is evicted for a newcomer of lower rank.
        """
        most = newcomer.rank if newcomer is not None else Rank.pinned
        need = self._drop_buffers(self.used + nbytes - self.budget)
        gone = self._choose(self._thin(need, most, newcomer), newcomer, most)
        self._evict(gone or ())
        return gone

    def _choose(
        self, need: int, newcomer: Segment | None, most: int, stored: bool = False
    ) -> list[Segment] | None:
        """Segments of `need` bytes, of rank `most` at most, the first to be evicted first; None where there
        are no more that may go for the newcomer. stored: only what is on disk.
        """
        above = set(ancestors(newcomer)) if newcomer is not None else set()
        gone: list[Segment] = []
        leaving: set[bytes] = set()
        while need > 0:
            found = [
                one
                for one in self.held.values()
                if (one.stored or not stored) and self._may_go(one, leaving, above, most)
            ]
            if not found:
                return None
            first = min(found, key=lambda one: (one.rank, one.worth, one.used))
            leaving.add(first.name)
            gone.append(first)
            need -= first.nbytes
        return gone

    def _evict(self, gone: Sequence[Segment]) -> None:
        for one in gone:
            self.floor = max(self.floor, one.worth)
            self.drop(one)
        self.evictions += len(gone)

    def _may_go(self, one: Segment, leaving: set[bytes], above: set[bytes], most: int) -> bool:
        if one.locks or one.name in leaving or one.name in above or one.rank > most:
            return False
        return all(child.kept is None or child.name in leaving for child in one.children())


def on_the_way(segment: Segment, newcomer: Segment | None) -> bool:
    """Whether its spare bytes can go: they are on disk, nobody waits for the segment, and one segment
    continues it, in RAM or about to be.
    """
    if segment.locks or not segment.stored or segment.parent is None:
        return False
    children = {child.name: child for child in segment.children()}
    return len(children) == 1 and all(
        child.kept is not None or child is newcomer for child in children.values()
    )


def ancestors(segment: Segment) -> Iterator[bytes]:
    """The names of the segments before it."""
    above = segment.parent
    while above is not None:
        yield above.name
        above = above.parent
