"""The prefix cache itself, in RAM and on disk: look, wait, take, keep. Engine thread only.

A request looks for its longest known prefix when it comes; what lies on disk is fetched while it waits in the
queue. When it gets its place, it takes what is in RAM by then, and streams from disk what RAM has no room
for. What it computes is kept at the end of its prompt and at its own end.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from engine.cache.archive import Archive, Loaded
from engine.cache.entry import Change
from engine.cache.layers import Kept, Layout, Part
from engine.cache.pieces import can_go_on, lacks, reach
from engine.cache.radix import Match, Piece, Radix, Segment, Tokens, as_tokens, path_tokens
from engine.cache.ram import RamTier, Rank
from engine.cache.record import FORMAT, Record
from engine.cache.settle import Settler
from engine.cache.streaming import OnDisk, Source, find_sources, put_together
from engine.cache.taken import StoreCounts, Taken, Waiting, Wanted
from engine.tuning import CPU, DeviceTuning

HEAD_BYTES = 32 * 4  # so many first tokens tell one conversation from another


class PrefixCache:
    """RAM first, then disk. archive: None for RAM only."""

    def __init__(
        self,
        layout: Layout,
        fingerprint: str,
        model: str,
        ram: RamTier,
        archive: Archive | None = None,
        clock: Callable[[], float] = time.monotonic,
        tuning: DeviceTuning = CPU,
    ) -> None:
        self.layout = layout
        self._settle_bytes = tuning.settle_bytes
        self.ram = ram
        self.archive = archive
        self.counts = StoreCounts()
        self.foreign: set[bytes] = set()  # first tokens of conversations that other models left on disk
        # by digest of a session: its last segment before this process
        self.left: dict[str, tuple[float, bytes]] = {}
        self._fingerprint = fingerprint
        self._model = model
        self._clock = clock
        self.radix = Radix(fingerprint, layout.sliceable)
        self._fetching: set[Wanted] = set()
        self._fetched: set[bytes] = set()
        self._settler = Settler(self._hold)
        if archive is not None:
            self._restore(archive)

    def _restore(self, archive: Archive) -> None:
        """Learns what the disk holds."""
        self._graft(archive, archive.folder.load())

    def _graft(self, archive: Archive, records: Iterable[Record]) -> None:
        """Adds records that are on disk, parents before their continuations."""
        for record in records:
            if record.fingerprint != self._fingerprint:
                if record.start == 0:
                    self.foreign.add(record.tokens[:HEAD_BYTES])
                continue
            segment = self.radix.segments.get(record.name)  # computed meanwhile
            if segment is None:
                tokens = as_tokens(np.frombuffer(record.tokens, dtype="<i4"))
                segment = self.radix.graft(record.parent, record.start, tokens, record.name)
            if segment is None:
                archive.drop(record.name)
            else:
                segment.stored = record.size
                if record.session:
                    last = self.left.get(record.session, (0.0, b""))
                    self.left[record.session] = max(last, (record.saved, record.name))

    def look(self, tokens: Tokens, patience_s: Callable[[int], float], rank: Rank = Rank.common) -> Waiting:
        """Finds the longest prefix of a prompt and fetches what of it is on disk. take() or forget() has to
        follow.

        patience_s: how long to wait, for each token that a fetch saves. See waits().
        rank: of what is fetched; it may have had none since the last process.
        """
        self.settle()
        match = self.radix.match(tokens, len(tokens) - 1)
        segments = [piece.segment for piece in match.pieces]
        lacking = [
            (segment, whole)
            for segment, whole in self._wanted(segments)
            if lacks(segment, whole) and segment.end <= self.ram.most_tokens
        ]
        for segment in segments:
            segment.locks += 1
            if segment.kept is None:
                segment.rank = max(segment.rank, rank)
        ready = self._at_hand(match)
        at_hand = ready[-1].end if ready else 0
        until = self._clock() + patience_s(match.usable - at_hand) if lacking else 0.0
        for segment, whole in lacking:
            self._fetch(segment, whole)
        missing = frozenset((segment.name, whole) for segment, whole in lacking)
        return Waiting(tokens, segments, missing, until, match.usable, patience_s)

    def _wanted(self, path: Sequence[Segment]) -> list[tuple[Segment, bool]]:
        """The segments on the way to the position to continue from, each with whether its
        states are needed too: those of the last one, or of all where a model has none.
        """
        return [(segment, self.layout.sliceable or segment is path[-1]) for segment in path]

    def _fetch(self, segment: Segment, whole: bool) -> None:
        assert self.archive is not None, "a segment is in RAM, on disk or forgotten"
        pending = self.archive.pending.get(segment.name)
        if pending is not None:
            self._arrived(Loaded(segment.name, pending))
        elif not self._fetching & {(segment.name, True), (segment.name, whole)}:
            self._fetching.add((segment.name, whole))
            self.archive.fetch(segment.name, whole)

    def prefetch(self, path: Sequence[Segment], most: int) -> None:
        """Fetches what of these is on disk only, in order, `most` bytes of it; nothing waits for them."""
        for segment, whole in self._wanted(path):
            if lacks(segment, whole) and segment.stored:
                most -= segment.stored
                if most < 0:
                    return
                segment.rank = max(segment.rank, Rank.active)
                self._fetch(segment, whole)

    def waits(self, waiting: Waiting) -> bool:
        """Whether it is better that this request has no place yet."""
        return self._lacks(waiting) and self._clock() < waiting.until

    def _lacks(self, waiting: Waiting) -> bool:
        """Whether any of it is still being read from disk."""
        return any(self._fetching & {(name, True), (name, whole)} for name, whole in waiting.missing)

    def forget(self, waiting: Waiting) -> None:
        """The request ends, or no longer counts on this. May be called again."""
        for segment in waiting.locked:
            segment.locks -= 1
        waiting.locked.clear()

    def take(self, waiting: Waiting) -> Taken:
        """The caches that a request starts from, now that it has its place."""
        self.settle()
        self.forget(waiting)
        tokens = waiting.tokens
        match = self.radix.match(tokens, len(tokens) - 1)
        pieces = self._at_hand(match)
        self.ram.touch((piece.segment for piece in pieces), self._clock())
        if self.archive is not None:
            self.archive.folder.touch([piece.segment.name for piece in match.pieces], time.time())
        in_ram = [Part(piece.segment.kept, piece.start, piece.end) for piece in pieces]
        missed = match.usable - reach(pieces)
        late = self._lacks(waiting) and missed > 0
        sources: Sequence[Source] = in_ram
        if missed and not late and self.archive is not None:
            wanted = self._wanted([piece.segment for piece in match.pieces])
            until = self._clock() + waiting.patience_s(missed)
            sources = find_sources(match.pieces, wanted, self.archive, until, self._clock) or in_ram
        length = sources[-1].end if sources else 0
        names = {piece.segment.name for piece in pieces}
        from_disk = bool(names & self._fetched) or any(isinstance(one, OnDisk) for one in sources)
        tier = "none" if not sources else "disk" if from_disk else "ram"
        self._fetched -= names
        self._count(tier, late, length, len(tokens))
        fork = min(match.length, len(tokens) - 1)
        forks = (fork,) if not self.layout.sliceable and length < fork else ()
        join = partial(put_together, self.layout, sources, len(tokens) - length, in_ram) if sources else None
        return Taken(join, length, tier, match.length, late, forks)

    def fell_short(self, taken: Taken, length: int, late: bool) -> Taken:
        """What a request started from, when the disk did not give all that was taken."""
        self.counts.reused_tokens -= taken.length - length
        self.counts.late += late
        return replace(taken, length=length, late=late, tier=taken.tier if length else "none")

    def _at_hand(self, match: Match) -> tuple[Piece, ...]:
        """The pieces that are in RAM, up to the first that is not, ending where the model can continue."""
        length = reach(match.pieces)
        pieces = [piece for piece in match.pieces if piece.end <= length]
        while pieces and not self.layout.sliceable and not can_go_on(pieces[-1]):
            pieces.pop()
        return tuple(pieces)

    def _count(self, tier: str, late: bool, reused: int, total: int) -> None:
        self.counts.ram += tier == "ram"
        self.counts.disk += tier == "disk"
        self.counts.none += tier == "none"
        self.counts.late += late
        self.counts.reused_tokens += reused
        self.counts.prompt_tokens += total

    def keep(
        self, tokens: Sequence[int], caches: Sequence[Any], rank: Rank = Rank.common, session: str = ""
    ) -> None:
        """Keeps a sequence of exactly these tokens; what is known already costs nothing.

        Nothing is computed yet: settle() does that, and look() before it looks.
        """
        array = as_tokens(tokens)
        if self.layout.sliceable and (self.archive is None or self.archive.folder.readonly):
            array = array[: self.ram.most_tokens]  # what fits is better than nothing
        if not len(array):
            return
        self.radix.add(array)
        match = self.radix.match(array, len(array))
        for piece in match.pieces:
            segment = piece.segment
            segment.rank = max(segment.rank, rank)
            segment.session = segment.session or session
            # a segment that continues beyond these tokens is stored elsewhere as a whole, and here only in
            # part
            ends = segment.end == len(array) or (self.layout.sliceable and segment.end < len(array))
            if ends and lacks(segment, segment.end == len(array)) and not self._settler.has(segment):
                self._keep(segment, self.layout.cut(caches, segment.start, segment.end))
            elif segment.kept is not None:
                self._save(segment, segment.kept)

    def _keep(self, segment: Segment, kept: Kept) -> None:
        """Keeps arrays that are still to be computed; not those on disk for which there is no room in RAM."""
        if self._is_safe(segment):
            if self._into_ram(segment, kept):
                self._settler.add(segment, kept)
            return
        self._settler.add(segment, kept)
        # now, because the memory of what is evicted can be used for its copy
        self._into_ram(segment, kept)

    def _is_safe(self, segment: Segment) -> bool:
        """Whether it is on disk, or on its way there."""
        return bool(segment.stored) or (self.archive is not None and segment.name in self.archive.pending)

    def settle(self, most: int | None = None) -> bool:
        """Computes what keep() left to do, `most` bytes of it; returns whether anything is left."""
        return self._settler.run(most)

    def _hold(self, segment: Segment, kept: Kept) -> None:
        """A segment has been computed: it goes to the disk, unless it is there. In RAM it has a place, or got
        none.
        """
        if segment.name in self.radix.segments:
            self._save(segment, kept)
            self._evicted([segment])

    def _into_ram(self, segment: Segment, kept: Kept) -> bool:
        """Returns whether it is there now."""
        if not lacks(segment, kept.whole):
            return True
        dropped = self.ram.dropped
        gone = self.ram.hold(segment, kept, kept.nbytes, self._clock(), kept.spare)
        self.counts.refused += gone is None
        self._evicted([segment] if gone is None else gone)
        # MLX keeps what is freed for arrays of the same size, which the newcomer's are not
        if gone or self.ram.dropped > dropped:
            mx.clear_cache()
        return gone is not None

    def _save(self, segment: Segment, kept: Kept, bounded: bool = True) -> None:
        """Sends a segment to the disk, if it is not there yet, and all of it is at hand and computed."""
        if self.archive is None or not kept.whole or segment.stored or self._settler.has(segment):
            return
        if segment.name not in self.archive.pending:
            self.archive.save(self._record(segment), kept, bounded)

    def discard(self) -> None:
        """Forgets what keep() left to do: the model failed, and what it computed is not to be trusted."""
        for segment in self._settler.clear():
            self._lose(segment)

    def _record(self, segment: Segment) -> Record:
        parent = segment.parent
        return Record(
            format=FORMAT,
            fingerprint=self._fingerprint,
            model=self._model,
            name=segment.name,
            parent=None if parent is None else parent.name,
            start=segment.start,
            end=segment.end,
            tokens=path_tokens(segment)[segment.start :].tobytes(),
            size=0,
            checksum=b"",
            saved=0.0,
            session=digest_name(segment.session),
        )

    def _evicted(self, gone: Sequence[Segment]) -> None:
        """Forgets segments that are neither in RAM nor on disk any more."""
        for segment in gone:
            self._fetched.discard(segment.name)
            safe = self._is_safe(segment) or self._settler.has(segment)
            if segment.kept is None and not safe:
                self._lose(segment)

    def _lose(self, segment: Segment) -> None:
        for lost in self.radix.remove(segment):
            self.ram.drop(lost)
            if self.archive is not None:
                self.archive.drop(lost.name)

    def drop(self, segment: Segment) -> None:
        """Forgets a segment and all its continuations, on disk too."""
        self._lose(segment)

    def tick(self, decoding: bool = False) -> bool:
        """Works between two steps: takes in what the disk did, and computes a little of what is to be kept.

        decoding: requests wait for the next step. Returns whether some of the work is left.
        """
        if self.archive is not None:
            self.archive.breaks.hurry(not decoding)
        for news in self.archive.news() if self.archive is not None else ():
            if isinstance(news, Loaded):
                self._arrived(news)
                continue
            if isinstance(news, Change):
                self._changed(news)
                continue
            segment = self.radix.segments.get(news.name)
            if self.archive is not None:
                self.archive.pending.pop(news.name, None)
            if segment is not None:
                segment.stored = news.nbytes
                self._evicted([segment])
            for name in news.gone:
                self._left_disk(name)
        return self.settle(self._settle_bytes)

    def _changed(self, change: Change) -> None:
        """The folder was replaced, or can be written again."""
        for name in change.gone:
            self._left_disk(name)
        if self.archive is not None:
            self._graft(self.archive, change.fresh)

    def _left_disk(self, name: bytes) -> None:
        segment = self.radix.segments.get(name)
        if segment is not None:
            segment.stored = 0
            self._evicted([segment])

    def _arrived(self, news: Loaded) -> None:
        """A segment came from the disk, or turned out to be damaged."""
        found = {(news.name, False)}
        if news.kept is None or news.kept.whole:
            found.add((news.name, True))
        self._fetching -= found
        segment = self.radix.segments.get(news.name)
        if news.kept is None:
            self._left_disk(news.name)
        elif segment is not None and lacks(segment, news.kept.whole):
            self._into_ram(segment, news.kept)
            self._fetched.add(news.name)

    @property
    def disk_bytes(self) -> int:
        """Bytes on disk as of the last write: measuring them is work for the disk."""
        return self.archive.disk_bytes if self.archive is not None else 0

    def flush(self) -> None:
        """Computes what is left, and sends the disk all that is in RAM and not there yet."""
        self.settle()
        self.tick()
        self.write(sorted(self.ram.held.values(), key=lambda segment: segment.start))

    def write(self, segments: Sequence[Segment]) -> None:
        """Sends the disk what of these is in RAM and not there yet."""
        for segment in segments:
            self._save(segment, segment.kept, bounded=False)

    def close(self, grace_s: float | None = None) -> int:
        """Writes what is left, for so long at most; returns the bytes that were not written. See
        Archive.close().
        """
        self.flush()
        return self.archive.close(grace_s) if self.archive is not None else 0


def digest_name(session: str) -> str:
    """A session's name as it is stored on disk."""
    return hashlib.blake2b(session.encode("utf-8", "replace"), digest_size=12).hexdigest() if session else ""
