"""Stores items of bytes in a diskcache folder. Only this file uses diskcache, and nothing else of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diskcache

from engine.cache.ownership import DATABASE, FILENAME, SETTINGS, is_folder, our_files, remove_file
from engine.cache.snapshot import NotBytes, open_plain, read_rows
from engine.cache.throttle import NO_BREAKS, Throttle

PLACES = 20  # names that are tried for a file before the folder counts as unusable
FAILURES = (OSError, sqlite3.Error, diskcache.Timeout)
# a flipped bit in the database appears as any of these: text that is none, a column of another type
DAMAGE = (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError)
COLUMNS = (
    "rowid, key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value"
)
OF_THE_DISK = ("readonly", "full", "unable to open", "locked", "disk I/O")


def open_items(path: Path, limit: int) -> Any:
    """A diskcache.Cache of bytes. It evicts nothing itself: engine.cache.disk knows what may be evicted."""
    return diskcache.Cache(str(path), disk=BytesDisk, size_limit=limit, **SETTINGS)


def is_damage(error: Exception) -> bool:
    """Whether the error comes from what lies on the disk, rather than from the disk."""
    if isinstance(error, sqlite3.OperationalError):
        return not any(words in str(error) for words in OF_THE_DISK)
    return isinstance(error, DAMAGE)


def tidy(base: Path) -> None:
    """Removes our files that no row names, and rows without their file. Nobody else may be writing."""
    with closing(sqlite3.connect(base / DATABASE[0], isolation_level=None)) as database:
        database.execute(f"SELECT {COLUMNS} FROM Cache LIMIT 0")  # a flipped bit may have renamed a column
        rows = database.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL").fetchall()
        named = {name for (name,) in rows if isinstance(name, str) and FILENAME.fullmatch(name)}
        there = set(our_files(base))
        for name in there - named:
            remove_file(base, name)
        for name in named - there:
            database.execute("DELETE FROM Cache WHERE filename = ?", (name,))


@dataclass(frozen=True, slots=True)
class Buffers:
    """A value in several parts, which are written one after the other. breaks: of the thread that writes
    them.
    """

    parts: tuple[Any, ...]
    breaks: Throttle = NO_BREAKS

    @property
    def nbytes(self) -> int:
        return sum(memoryview(part).nbytes for part in self.parts)


class Snapshot:
    """The items that a database held at this moment, for a process that does not write; read as diskcache
    reads them.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self.rows = read_rows(base) if (base / DATABASE[0]).exists() else {}

    def get(self, key: bytes, read: bool = False) -> Any:
        """The bytes of an item, or with `read` the open file of them; None where there is no such item."""
        row = self.rows.get(key)
        if row is None or (row.value is not None and not read):
            return None if row is None else row.value
        if row.filename is None or not FILENAME.fullmatch(row.filename):
            raise NotBytes("an item in the database is not plain bytes")
        file = open_plain(self._base / row.filename)
        if read:
            return file
        with file:
            return file.read()

    def close(self) -> None:
        """Does nothing: no file is held open."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Storage for bytes and Buffers only, in files with the names that diskcache makes.

    Short bytes are stored in the database, long ones and all Buffers in files.
    """

    def __init__(self, directory: str, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.base = Path(directory)

    def put(self, key: Any) -> tuple[Any, bool]:
        if type(key) is not bytes:
            raise NotBytes(f"a key must be bytes, got {type(key).__name__}")
        return sqlite3.Binary(key), True

    def get(self, key: Any, raw: bool) -> bytes:
        if not raw or not isinstance(key, bytes | memoryview):
            raise NotBytes("a key in the database is not plain bytes")
        return bytes(key)

    def store(self, value: Any, read: bool, key: Any = b"") -> tuple[int, int, str | None, Any]:
        if read or not isinstance(value, bytes | Buffers):
            raise NotBytes(f"a value must be bytes, got {type(value).__name__}")
        buffers = value if isinstance(value, Buffers) else Buffers((value,))
        if isinstance(value, bytes) and len(value) < self.min_file_size:
            return 0, diskcache.core.MODE_RAW, None, sqlite3.Binary(value)
        filename, path = self._place(key, value)
        try:
            with path.open("xb") as file:
                for part in buffers.parts:
                    with buffers.breaks.work():
                        file.write(part)
        except OSError:
            self.remove(filename)
            raise
        return path.stat().st_size, diskcache.core.MODE_BINARY, filename, None

    def _place(self, key: Any, value: Any) -> tuple[str, Path]:
        """The name of a new file, in folders that exist. diskcache draws names at random: where something of
        a user's has such a name, the next one is taken.
        """
        for last in (False,) * PLACES + (True,):
            filename, full_path = self.filename(key, value)
            try:
                make_steps(Path(full_path))
                break
            except FileExistsError:
                if last:
                    raise
        return filename, Path(full_path)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_RAW and isinstance(value, bytes | memoryview):
            return bytes(value)
        if mode != diskcache.core.MODE_BINARY or filename is None or not FILENAME.fullmatch(filename):
            raise NotBytes("an item in the database is not plain bytes")
        file = open_plain(self.base / filename)
        if read:
            return file
        with file:
            return file.read()

    def remove(self, file_path: str) -> None:
        remove_file(self.base, file_path)


def make_steps(file: Path) -> None:
    """Makes the two folders above a file, and none above those: the folder of the cache may have been
    removed.

    Raises OSError, also where one of them is a link.
    """
    for folder in (file.parent.parent, file.parent):
        try:
            folder.mkdir()
        except FileExistsError:
            if not is_folder(folder):
                raise
