"""The disk tier: one folder of segments in diskcache, written, read, evicted and verified; nothing of MLX.

Each segment is two items: its tensors (a file), then its record (a row), so that a crash leaves at most a
file that no record names. Nothing is ever pickled: the record is msgpack with its own checksum, and holds
the checksum of the tensors. What does not match is removed and counts as a miss.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from engine.cache.blobs import DAMAGE, FAILURES, Buffers, Snapshot, is_damage
from engine.cache.contents import Contents, read_contents
from engine.cache.entry import CacheEntry, Change, DiskCounts, blocks, checks
from engine.cache.hold import Hold
from engine.cache.ownership import DATABASE, SEGMENTS, NotOurs, Standing, look_at
from engine.cache.record import Record, encode_record
from engine.cache.throttle import NO_BREAKS, Stopped, Throttle

log = logging.getLogger("engine.cache")

TRY_AGAIN_S = 10.0
SLACK = 2 * 2**20  # the database may grow by this much within one write


@dataclass(slots=True)
class Folder:
    """Opens `path` at once. Raises OSError (NotOurs is one) or sqlite3.Error where nothing there can be read.

    A `patient` folder does not raise: attend() looks again, as it does after everything that ends writing.
    One process at a time may write. Another one that opens the folder only reads, as does one that does
    not want to `write`, or may not; it changes nothing there. limit: bytes that the whole folder may
    take. Safe to use from several threads.
    """

    path: Path
    limit: int
    write_wanted: bool = True
    patient: bool = False
    clock: Callable[[], float] = time.monotonic
    entries: dict[bytes, CacheEntry] = field(default_factory=dict)
    protected: frozenset[bytes] = frozenset()  # not evicted
    counts: DiskCounts = field(default_factory=DiskCounts)
    readonly: str = ""  # why nothing is written; "" while it is
    _hold: Hold | None = None
    _items: Any = None  # a diskcache.Cache, or a Snapshot
    _found: Contents = field(default_factory=Contents)
    _need: int = 0  # bytes that the disk refused
    _again: float = 0.0  # when writing is tried again
    _since: float = 0.0  # when the outage began
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.path = self.path.absolute()
        self._since = self.clock()
        self._again = self._since + TRY_AGAIN_S
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            if not self.patient:
                raise
            self.readonly = self.readonly or str(error)
            self._found, self._items = Contents(), None

    def _open(self) -> None:
        """Opens to write, or where that fails to read. Raises OSError, sqlite3.Error where neither is
        possible.
        """
        found = look_at(self.path)
        if found.standing is Standing.foreign:
            raise NotOurs(found.why)
        self.readonly = "this process opened it for reading only"
        if self.write_wanted:
            try:
                self._hold = Hold.take(self.path, self.limit)
            except OSError as error:
                if not found.usable:
                    raise
                self.readonly = str(error)
            else:
                self.readonly = ""
                self.counts.damaged += self._hold.damaged
                self._found, self._items = self._hold.contents, self._hold.items
                return
        self._found = read_contents(self.base)
        self._items = self._found.items

    @property
    def base(self) -> Path:
        return self.path / SEGMENTS

    def close(self) -> None:
        """Lets other processes write. Idempotent."""
        hold, self._hold = self._hold, None
        self.readonly = self.readonly or "it is closed"
        if hold is not None:
            hold.close()

    def attend(self) -> Change | None:
        """To be called every few seconds by the thread that writes: notices a folder that is gone or was
        replaced, and resumes writing where that is possible. Returns what has changed on disk by that, if
        anything.
        """
        if not self.write_wanted:
            return None
        lost = self._lost()
        if not self.readonly or (self.clock() < self._again and not lost):
            return None
        self._again = self.clock() + TRY_AGAIN_S
        if self._hold is not None:  # nothing changed but what the disk refuses
            if not self._hold.refused(self._need):
                self._resumed()
            return None
        return self._reopen(lost)

    def _lost(self) -> bool:
        """Whether the path holds something else than what was opened for writing, which is then closed."""
        why = self._hold.changed() if self._hold is not None else ""
        if self._hold is None or not why:
            return False
        self._outage(why)
        self._hold.close()
        self._hold, self._items = None, None
        return True

    def _outage(self, why: str) -> None:
        if not self.readonly:
            self.counts.outages += 1
            self._since = self.clock()
        self._again = self.clock() + TRY_AGAIN_S
        if why != self.readonly:
            log.warning("the cache at %s is no longer written: %s; writing is tried again", self.path, why)
        self.readonly = why

    def _resumed(self) -> None:
        self.readonly = ""
        log.warning("the cache at %s is written again, after %.0f s", self.path, self.clock() - self._since)

    def _reopen(self, lost: bool) -> Change | None:
        """Tries to write; where that fails, reads what is there if what there was is lost."""
        before, reading = self.readonly, self._items
        try:
            self._hold = Hold.take(self.path, self.limit)
        except OSError as error:
            self.readonly = str(error)
            if self.readonly != before:
                log.warning("the cache at %s is not written: %s", self.path, self.readonly)
            if not lost and reading is not None:
                return None
            self._found = readable(self.path)
            self._items = self._found.items
            if self._items is None and reading is None and not self.entries:
                return None
        else:
            self.counts.damaged += self._hold.damaged
            self._found, self._items = self._hold.contents, self._hold.items
            self._resumed()
        old = self.entries
        with self._mutex:
            self.entries = {}
        records = self.load()
        for name in old.keys() & self.entries.keys():
            self.entries[name].used = max(old[name].used, self.entries[name].used)
        fresh = tuple(record for record in records if record.name not in old)
        return Change(fresh, frozenset(old.keys() - self.entries.keys()))

    def load(self) -> list[Record]:
        """Every whole record, parents before their continuations; damaged ones are removed."""
        found = self._found.records.values()
        records = sorted(found, key=lambda record: (record.start, record.end))
        # a reader may see what the writer is about to evict: that shows when it is read
        bad = self._found.damaged | (set() if self.readonly else self._found.missing)
        records = [record for record in records if record.name not in bad]
        self.counts.damaged += len(bad)
        for name in bad | self._found.loose:
            with contextlib.suppress(*FAILURES, *DAMAGE):
                self._delete(name)
        with self._mutex:
            for record in records:
                self._note(record)
            for record in records:
                self._count_child(record.parent, 1)
        self._found = Contents()
        if not self.readonly:
            self._make_room(0, None)  # the limit may be lower than before
        return records

    def _note(self, record: Record) -> None:
        self.entries[record.name] = CacheEntry(
            record.fingerprint,
            record.model,
            record.parent,
            record.end - record.start,
            record.size,
            record.checksum,
            record.saved,
        )

    def bytes_used(self) -> int:
        """Bytes on disk, the database and its log included."""
        database = 0
        for name in DATABASE:
            with contextlib.suppress(OSError):
                database += (self.base / name).stat().st_size
        with self._mutex:
            return database + sum(blocks(entry.size) for entry in self.entries.values())

    def touch(self, names: Iterable[bytes], now: float) -> None:
        """Notes that the segments were used, at this Unix time."""
        with self._mutex:
            for name in names:
                if name in self.entries:
                    self.entries[name].used = now

    def write(self, record: Record, parts: Sequence[Any], breaks: Throttle = NO_BREAKS) -> list[bytes] | None:
        """Stores a segment; returns the names of those evicted for it, or None when it was not stored.

        A segment whose parent is not stored is not stored either: it could never be used. A failure of the
        disk ends writing, with one warning, until attend() resumes it. breaks: of the thread that writes.
        parts: of single bytes.
        """
        if self.readonly or self._lost() or not self._wanted(record):
            return None
        need = blocks(record.size) + blocks(len(record.tokens)) + SLACK
        gone = self._make_room(need, record.parent)
        if gone is None:
            return None
        try:
            self._items.set(b"t" + record.name, Buffers(tuple(parts), breaks))
            self._items.set(b"m" + record.name, encode_record(record))
        except Stopped:
            return None
        except (*FAILURES, *DAMAGE) as error:
            self._failed(error, record.name, need)
            return None
        with self._mutex:
            self._note(record)
            self._count_child(record.parent, 1)
            self.counts.written += 1
        return gone

    def _wanted(self, record: Record) -> bool:
        with self._mutex:
            return record.name not in self.entries and (
                record.parent is None or record.parent in self.entries
            )

    def _count_child(self, parent: bytes | None, change: int) -> None:
        if parent is not None and parent in self.entries:
            self.entries[parent].children += change

    def _failed(self, error: Exception, name: bytes, need: int) -> None:
        """Handles a segment that the disk refused, or a folder that is damaged."""
        self._outage(f"{type(error).__name__}: {error}")
        self._need = need
        with contextlib.suppress(*FAILURES, *DAMAGE):
            self._items.delete(b"t" + name)
        if self._hold is not None and is_damage(error):
            self._hold.close()
            # reading goes on; the folder is opened later, and started anew if that is needed
            self._hold = None

    def _make_room(self, need: int, parent: bytes | None) -> list[bytes] | None:
        """Evicts leaves, the longest unused first, until `need` bytes are free; None when that cannot be."""
        above: set[bytes] = set()
        gone: list[bytes] = []
        excess = self.bytes_used() + need - self.limit
        while excess > 0:
            with self._mutex:
                while parent is not None and parent in self.entries and parent not in above:
                    above.add(parent)
                    parent = self.entries[parent].parent
                kept = above | self.protected
                leaves = [
                    (entry.used, name)
                    for name, entry in self.entries.items()
                    if not entry.children and name not in kept
                ]
                if not leaves:
                    return None
                name = min(leaves)[1]
                excess -= blocks(self.entries[name].size)
            self.remove(name)
            gone.append(name)
            self.counts.evicted += 1
        return gone

    def remove(self, name: bytes) -> None:
        """Deletes a segment. Unknown names are ignored."""
        with self._mutex:
            entry = self.entries.pop(name, None)
            if entry is not None:
                self._count_child(entry.parent, -1)
        with contextlib.suppress(*FAILURES, *DAMAGE):
            self._delete(name)

    def _delete(self, name: bytes) -> None:
        hold = self._hold
        if not self.readonly and hold is not None and not hold.changed():
            hold.items.delete(b"m" + name)
            hold.items.delete(b"t" + name)

    def open(self, name: bytes) -> tuple[BufferedReader, CacheEntry] | None:
        """The file of a segment's tensors, to be verified; None when there is none. See spoiled()."""
        with self._mutex:
            entry = self.entries.get(name)
        hold = self._hold
        if entry is None:
            return None
        file: Any = None
        try:
            file = self._items.get(b"t" + name, read=True) if self._items is not None else None
        except FileNotFoundError:
            pass
        except (*FAILURES, *DAMAGE):
            self.spoiled(name)
            return None
        if isinstance(file, BufferedReader):
            return file, entry
        # the process that writes there evicts what it likes
        if self.readonly or (hold is not None and hold.changed()):
            self.counts.gone += 1
            self.remove(name)
        else:
            self.spoiled(name)
        return None

    def spoiled(self, name: bytes) -> None:
        """The segment is not what was written: it is counted and removed."""
        self.counts.damaged += 1
        self.remove(name)

    def read(self, name: bytes, breaks: Throttle = NO_BREAKS) -> BufferedReader | None:
        """The file of a segment's tensors, whole and verified, at its beginning; None when there is none.

        What is damaged is counted and removed; what another process removed is only gone. breaks: of the
        thread that reads, while it verifies.
        """
        found = self.open(name)
        if found is None:
            return None
        file, entry = found
        if checks(file, entry, breaks):
            self.counts.read += 1
            return file
        file.close()
        self.spoiled(name)
        return None

    def verify(self) -> list[bytes]:
        """Reads everything; returns the names of damaged segments, now removed if this process writes."""
        bad: list[bytes] = []
        gone: list[bytes] = []
        for name in list(self.entries):
            before = self.counts.gone
            file = self.read(name)
            if file is not None:
                file.close()
            else:
                (gone if self.counts.gone > before else bad).append(name)
        lost = self._still_named(gone)
        self.counts.gone -= len(lost)
        return bad + lost

    def _still_named(self, names: list[bytes]) -> list[bytes]:
        """Of segments whose files are missing, those that the database still names."""
        rows = Snapshot(self.base).rows if names else {}
        return [name for name in names if b"t" + name in rows]

    def purge(self, fingerprint: str | None = None) -> int:
        """Removes all segments, or those of one fingerprint; returns how many."""
        names = [name for name, entry in self.entries.items() if fingerprint in (None, entry.fingerprint)]
        for name in names:
            self.remove(name)
        return len(names)


def readable(path: Path) -> Contents:
    """What of ours can be read there; empty where nothing can."""
    try:
        return read_contents(path / SEGMENTS) if look_at(path).usable else Contents()
    except (OSError, sqlite3.Error):
        return Contents()
