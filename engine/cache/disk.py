"""The disk tier: one folder of segments, in diskcache. Bytes in, bytes out; knows nothing of MLX.

Each segment is two items: its tensors (a file), then its record (a row): what a crash leaves behind is a file
that no record names, or nothing. Nothing is ever pickled: the record is msgpack with its own checksum, and
holds the checksum of the tensors. What does not agree is removed and is a miss.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import msgspec

from engine.cache.blobs import DAMAGE, FAILURES, Buffers, is_damage, open_items, tidy
from engine.cache.breaks import NO_BREAKS, Breaks, Stopped

log = logging.getLogger("engine.cache")

FORMAT = 3
DIGEST = 20
BLOCK = 4096
SLACK = 2 * 2**20  # the database may grow by this much within one write
CHUNK = 2**20


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One segment. fingerprint: of what can use it; model: for people. parent: the segment it goes on from.

    tokens: [start, end) as little-endian int32. size, checksum: of its tensors. saved: Unix seconds. session:
    a digest of the name of the session that computed it, "" for none.
    """

    format: int = FORMAT
    fingerprint: str
    model: str
    name: bytes
    parent: bytes | None
    start: int
    end: int
    tokens: bytes
    size: int
    checksum: bytes
    saved: float
    session: str = ""


def encode_record(record: Record) -> bytes:
    body = msgspec.msgpack.encode(record)
    return digest_of((body,)) + body


def decode_record(data: bytes) -> Record | None:
    """None when it is damaged or of another format."""
    mark, body = data[:DIGEST], data[DIGEST:]
    if digest_of((body,)) != mark:
        return None
    try:
        record = msgspec.msgpack.decode(body, type=Record)
    except msgspec.MsgspecError:
        return None
    return record if record.format == FORMAT else None


def digest_of(parts: Iterable[Any], breaks: Breaks = NO_BREAKS) -> bytes:
    """The checksum of these bytes, one after the other. breaks: of the thread that computes it."""
    digest = hashlib.sha256()  # for which processors have instructions: twice as fast as blake2b
    for part in parts:
        view = memoryview(part)
        for start in range(0, view.nbytes, CHUNK):
            with breaks.work():
                digest.update(view[start : start + CHUNK])
    return digest.digest()[:DIGEST]


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
    written: int = 0
    read: int = 0
    damaged: int = 0
    evicted: int = 0


@dataclass(slots=True)
class Folder:
    """Opens `path` at once; raises OSError, sqlite3.Error or diskcache.Timeout where that cannot be.

    One process at a time may write: another one that opens the same folder only reads, and so does one that
    does not want to `write`. limit: bytes that all
    of it may take on disk. Safe to use from several threads.
    """

    path: Path
    limit: int
    write_wanted: bool = True
    entries: dict[bytes, Entry] = field(default_factory=dict)
    protected: frozenset[bytes] = frozenset()  # not evicted
    counts: Counts = field(default_factory=Counts)
    readonly: str = ""  # why nothing is written
    _cache: Any = None
    _lock_file: Any = None
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = (self.path / "lock").open("a")
        try:
            if self.write_wanted:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                self.readonly = "it was opened for reading"
        except BlockingIOError:
            self.readonly = "another process writes to it"
        try:
            self._open()
        except (*FAILURES, *DAMAGE) as error:
            if self.readonly or not is_damage(error):
                raise error if isinstance(error, FAILURES) else sqlite3.DatabaseError(str(error)) from error
            self._start_over(error)

    def _open(self) -> None:
        self._cache = open_items(self.path / "segments", self.limit)
        if not self.readonly:
            tidy(self._cache)

    def _start_over(self, error: Exception) -> None:
        log.warning("the cache at %s is damaged (%s) and starts empty", self.path, error)
        if self._cache is not None:
            with contextlib.suppress(*FAILURES, *DAMAGE):
                self._cache.close()
        self.counts.damaged += 1
        self.entries.clear()
        shutil.rmtree(self.path / "segments", ignore_errors=True)
        self._open()

    def close(self) -> None:
        """Lets others write."""
        with contextlib.suppress(*FAILURES):
            self._cache.close()
        self._lock_file.close()

    def load(self) -> list[Record]:
        """Every whole record, parents before what goes on from them; what is damaged is removed."""
        try:
            records = list(self._read_records())
        except (*FAILURES, *DAMAGE) as error:
            records = []
            if self.readonly or not is_damage(error):
                log.warning("the cache at %s cannot be read: %s", self.path, error)
            else:
                self._start_over(error)
        records.sort(key=lambda record: (record.start, record.end))
        for record in records:
            self._note(record)
        for record in records:
            self._count_child(record.parent, 1)
        if not self.readonly:
            self._make_room(0, None)  # the limit may be lower than it was
        return records

    def _read_records(self) -> Iterator[Record]:
        keys = set(self._cache.iterkeys())
        for key in keys:
            name = key[1:]
            if key[:1] == b"t":
                if b"m" + name not in keys:
                    self._delete(name)
                continue
            data = self._cache.get(key)
            record = decode_record(data) if data is not None else None
            if record is None or record.name != name or b"t" + name not in keys:
                self.counts.damaged += 1
                self._delete(name)
            else:
                yield record

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
        base = self.path / "segments"
        database = 0
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                database += (base / f"cache.db{suffix}").stat().st_size
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
            self._cache.set(b"t" + record.name, Buffers(tuple(parts), breaks))
            self._cache.set(b"m" + record.name, encode_record(record))
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
            self._cache.delete(b"m" + name)
            self._cache.delete(b"t" + name)

    def read(self, name: bytes, breaks: Breaks = NO_BREAKS) -> BufferedReader | None:
        """The file of a segment's tensors, whole and verified, at its beginning; None when it is damaged.

        What is damaged is counted and removed. breaks: of the thread that reads, while it verifies.
        """
        with self._mutex:
            entry = self.entries.get(name)
        if entry is None:
            return None
        try:
            file = self._cache.get(b"t" + name, read=True)
        except (*FAILURES, *DAMAGE):
            file = None
        if isinstance(file, BufferedReader):
            if checks(file, entry, breaks):
                self.counts.read += 1
                return file
            file.close()
        self.counts.damaged += 1
        self.remove(name)
        return None

    def verify(self) -> list[bytes]:
        """Read everything; the names of what was damaged, now removed."""
        bad: list[bytes] = []
        for name in list(self.entries):
            file = self.read(name)
            if file is None:
                bad.append(name)
            else:
                file.close()
        return bad

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
