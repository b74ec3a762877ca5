"""Puts together what a request has in the cache, also where RAM does not hold all of it.

What RAM lacks comes from the disk, one segment after the other: each is copied into the request's own buffers
and forgotten before the next is read. So a conversation of any length needs the memory of its request, and
of one segment more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.cache.archive import Archive
from engine.cache.layers import Kept, Layout, Part
from engine.cache.pieces import lacks
from engine.cache.radix import Piece, Segment


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Tokens [start, end) of a segment that RAM does not hold.

    read: reads the segment, on whatever thread; None where it is damaged or gone. Raises TimeoutError where
        it does not come in time, CancelledError where the process ends.
    """

    read: Callable[[], Kept | None]
    start: int
    end: int


Source = Part | OnDisk


@dataclass(frozen=True, slots=True)
class Joined:
    """Caches of the first `length` tokens of a prompt. late: the disk was too slow for more of them."""

    caches: list[Any]
    length: int
    late: bool = False


def find_sources(
    pieces: Sequence[Piece],
    wanted: Sequence[tuple[Segment, bool]],
    archive: Archive,
    until: float,
    clock: Callable[[], float],
) -> list[Source]:
    """Where each piece of a prompt comes from: RAM, or the disk where RAM lacks it. [] where neither has all.

    wanted: the segment of each piece, and whether its states are needed.
    until: for how long to wait for the disk, by this clock.
    """
    found: list[Source] = []
    for piece, (segment, whole) in zip(pieces, wanted, strict=True):
        kept = archive.pending.get(segment.name) if lacks(segment, whole) else segment.kept
        if kept is not None:
            found.append(Part(kept, piece.start, piece.end))
        elif segment.stored:
            reading = partial(read, archive, segment.name, whole, until, clock)
            found.append(OnDisk(reading, piece.start, piece.end))
        else:
            return []
    return found


def read(archive: Archive, name: bytes, whole: bool, until: float, clock: Callable[[], float]) -> Kept | None:
    """Reads a segment for one request. For any thread; raises as OnDisk.read does."""
    left = until - clock()
    if left <= 0:
        raise TimeoutError
    return archive.lend(name, whole).result(left)


def put_together(
    layout: Layout, sources: Sequence[Source], more: int, in_ram: Sequence[Part] = ()
) -> Iterator[Joined]:
    """The caches of all tokens of the sources, which leave no gap. For any thread.

    Each result is lazy, and has to be computed before the next is asked for; the last one counts. It has
    fewer tokens where the disk could not give all.

    more: as in Layout.join.
    in_ram: what a model whose state cannot be cut continues from then.
    """
    end, late = sources[-1].end, False
    parts = [source for source in sources if isinstance(source, Part)]
    if len(parts) == len(sources):
        yield Joined(layout.join(parts, more), end)
        return
    joined = Joined([], 0)
    for source in sources:
        part, late = fetched(source)
        if part is None:
            break
        caches = joined.caches or layout.open(part.kept, end, more)
        layout.append(caches, part)
        joined = Joined(caches, part.end)
        yield joined
        part = None  # else it stayed in memory while the next is read
    if joined.length == end:
        return
    if not layout.sliceable:
        joined = Joined(layout.join(in_ram, more), in_ram[-1].end) if in_ram else Joined([], 0)
    yield replace(joined, late=late)


def fetched(source: Source) -> tuple[Part | None, bool]:
    """The source as a part, None where the disk does not give it; and whether that was too slow."""
    if isinstance(source, Part):
        return source, False
    try:
        kept = source.read()
    except (TimeoutError, CancelledError):
        return None, True
    return (None if kept is None else Part(kept, source.start, source.end)), False
