"""The disk tier: one folder of segments, in diskcache. Bytes in, bytes out; knows nothing of MLX.

Each segment is two items: its tensors (a file), then its record (a row): what a crash leaves behind is a file
that no record names, or nothing. Nothing is ever pickled: the record is msgpack with its own checksum, and
holds the checksum of the tensors. What does not agree is removed and is a miss.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from engine.cache.blobs import DAMAGE, FAILURES, Buffers, Snapshot, is_damage, open_items, tidy
from engine.cache.breaks import NO_BREAKS, Breaks, Stopped
from engine.cache.contents import Contents, read_contents
from engine.cache.ownership import (
    DATABASE,
    LOCK,
    SEGMENTS,
    Lock,
    NotOurs,
    Standing,
    claim,
    look_at,
    remove_all,
)
from engine.cache.record import CHUNK, DIGEST, FORMAT, Record, encode_record

log = logging.getLogger("engine.cache")

BLOCK = 4096
SLACK = 2 * 2**20  # the database may grow by this much within one write


def blocks(size: int) -> int:
    """What a file of this size takes on disk."""
    return -(-size // BLOCK) * BLOCK


@dataclass(slots=True)
class Entry:
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
class Counts:
    """gone: that another process had removed. outages: times that writing stopped."""

    written: int = 0
    read: int = 0
    damaged: int = 0
    evicted: int = 0
    gone: int = 0
    outages: int = 0


@dataclass(slots=True)
class Folder:
    """Opens `path` at once; raises OSError (NotOurs is one) or sqlite3.Error where nothing there can be read.

    One process at a time may write: another one that opens the same folder only reads, and so does one that
    does not want to `write`, and one that may not. Who only reads changes nothing there. limit: bytes that
    all of it may take on disk. Safe to use from several threads.
    """

    path: Path
    limit: int
    write_wanted: bool = True
    entries: dict[bytes, Entry] = field(default_factory=dict)
    protected: frozenset[bytes] = frozenset()  # not evicted
    counts: Counts = field(default_factory=Counts)
    readonly: str = ""  # why nothing is written
    _items: Any = None  # a diskcache.Cache, or a Snapshot
    _lock: Lock | None = None
    _found: Contents = field(default_factory=lambda: Contents())
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.path = self.path.absolute()
        found = look_at(self.path)
        if found.standing is Standing.foreign:
            raise NotOurs(found.why)
        try:
            self.readonly = self._begin_writing() if self.write_wanted else "it was opened for reading"
        except OSError as error:
            if not found.usable:
                raise
            self.readonly = str(error)
        if self.readonly:
            self._found = read_contents(self.base)
            self._items = self._found.items

    @property
    def base(self) -> Path:
        return self.path / SEGMENTS

    def _begin_writing(self) -> str:
        """Make the folder ours, lock it and open its database; why not, where another keeps us from it.

        Raises OSError, leaving no lock behind.
        """
        claim(self.path)
        self._lock = Lock.take(self.path / LOCK)
        if self._lock is None:
            return "another process writes to it"
        try:
            return self._open()
        except BaseException:
            self._unlock()
            raise

    def _open(self) -> str:
        self.base.mkdir(exist_ok=True)
        try:
            self._found = read_contents(self.base)
            if self._found.formats:
                self._unlock()
                return (
                    f"another version of fortieth wrote it (format {min(self._found.formats)}, not {FORMAT})"
                )
            self._items = open_items(self.base, self.limit)
            tidy(self.base)
        except (*FAILURES, *DAMAGE) as error:
            if not is_damage(error):
                raise error if isinstance(error, OSError) else OSError(str(error)) from error
            self._start_over(error)
        return ""

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _start_over(self, error: Exception) -> None:
        log.warning("the cache at %s is damaged (%s) and starts empty", self.path, error)
        if self._items is not None:
            with contextlib.suppress(*FAILURES, *DAMAGE):
                self._items.close()
        self.counts.damaged += 1
        self.entries.clear()
        self._found = Contents()
        remove_all(self.base)
        self._items = open_items(self.base, self.limit)

    def close(self) -> None:
        """Lets others write."""
        with contextlib.suppress(*FAILURES):
            self._items.close()
        self._unlock()

    def load(self) -> list[Record]:
        """Every whole record, parents before what goes on from them; what is damaged is removed."""
        found = self._found.records.values()
        records = sorted(found, key=lambda record: (record.start, record.end))
        # who only reads may see what the writer is about to evict: that shows when it is read
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
            self._make_room(0, None)  # the limit may be lower than it was
        return records

    def _note(self, record: Record) -> None:
        self.entries[record.name] = Entry(
            record.fingerprint,
            record.model,
            record.parent,
            record.end - record.start,
            record.size,
            record.checksum,
            record.saved,
        )

    def bytes_used(self) -> int:
        """On disk, the database and its log included."""
        database = 0
        for name in DATABASE:
            with contextlib.suppress(OSError):
                database += (self.base / name).stat().st_size
        with self._mutex:
            return database + sum(blocks(entry.size) for entry in self.entries.values())

    def touch(self, names: Iterable[bytes], now: float) -> None:
        """They were used, at this Unix time."""
        with self._mutex:
            for name in names:
                if name in self.entries:
                    self.entries[name].used = now

    def write(self, record: Record, parts: Sequence[Any], breaks: Breaks = NO_BREAKS) -> list[bytes] | None:
        """Store a segment; the names of those that went for it. None when it was not stored.

        One whose parent is not stored is not either: it could never be used. Failure of the disk ends writing
        for good, with one warning. breaks: of the thread that writes. parts: of single bytes.
        """
        if self.readonly or not self._wanted(record):
            return None
        gone = self._make_room(blocks(record.size) + blocks(len(record.tokens)) + SLACK, record.parent)
        if gone is None:
            return None
        try:
            self._items.set(b"t" + record.name, Buffers(tuple(parts), breaks))
            self._items.set(b"m" + record.name, encode_record(record))
        except Stopped:
            return None
        except (*FAILURES, *DAMAGE) as error:
            self._stop_writing(error)
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

    def _stop_writing(self, error: Exception) -> None:
        self.readonly = f"{type(error).__name__}: {error}"
        log.warning("the cache at %s is only read from now on: %s", self.path, self.readonly)

    def _make_room(self, need: int, parent: bytes | None) -> list[bytes] | None:
        """Evict leaves, the longest unused first, until `need` bytes are free. None when that cannot be."""
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
        """Delete a segment; unknown names are fine."""
        with self._mutex:
            entry = self.entries.pop(name, None)
            if entry is not None:
                self._count_child(entry.parent, -1)
        with contextlib.suppress(*FAILURES, *DAMAGE):
            self._delete(name)

    def _delete(self, name: bytes) -> None:
        if not self.readonly:
            self._items.delete(b"m" + name)
            self._items.delete(b"t" + name)

    def read(self, name: bytes, breaks: Breaks = NO_BREAKS) -> BufferedReader | None:
        """The file of a segment's tensors, whole and verified, at its beginning; None when it is damaged.

        What is damaged is counted and removed; what another process removed is only gone. breaks: of the
        thread that reads, while it verifies.
        """
        with self._mutex:
            entry = self.entries.get(name)
        if entry is None:
            return None
        file: Any = None
        try:
            file = self._items.get(b"t" + name, read=True)
        except FileNotFoundError:
            if self.readonly:  # whoever writes here evicts what it likes
                self.counts.gone += 1
                self.remove(name)
                return None
        except (*FAILURES, *DAMAGE):
            pass
        if isinstance(file, BufferedReader):
            if checks(file, entry, breaks):
                self.counts.read += 1
                return file
            file.close()
        self.counts.damaged += 1
        self.remove(name)
        return None

    def verify(self) -> list[bytes]:
        """Read everything; the names of what was damaged, now removed if this process writes."""
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
        """Of those whose files are not there, the ones that the database names all the same."""
        rows = Snapshot(self.base).rows if names else {}
        return [name for name in names if b"t" + name in rows]

    def purge(self, fingerprint: str | None = None) -> int:
        """Remove all segments, or those of one fingerprint; how many."""
        names = [name for name, entry in self.entries.items() if fingerprint in (None, entry.fingerprint)]
        for name in names:
            self.remove(name)
        return len(names)


def checks(file: BufferedReader, entry: Entry, breaks: Breaks) -> bool:
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
