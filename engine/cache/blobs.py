"""Items of bytes in a diskcache folder. Nothing else of diskcache is used, and it is used nowhere else."""

from __future__ import annotations

import re
import sqlite3
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diskcache

from engine.cache.breaks import NO_BREAKS, Breaks

INLINE = 32 * 1024  # bytes; smaller values lie in the database
FILENAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
FAILURES = (OSError, sqlite3.Error, diskcache.Timeout)
# a flipped bit in the database reaches us as any of these: text that is none, a column of another type
DAMAGE = (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError)
OF_THE_DISK = ("readonly", "full", "unable to open", "locked", "disk I/O")


def open_items(path: Path, limit: int) -> Any:
    """A diskcache.Cache of bytes. It evicts nothing itself: what may go is known to engine.cache.disk."""
    return diskcache.Cache(
        str(path),
        disk=BytesDisk,
        disk_min_file_size=INLINE,
        eviction_policy="none",
        size_limit=limit,
        cull_limit=0,
    )


def is_damage(error: Exception) -> bool:
    """Whether it comes from what lies on the disk, rather than from the disk."""
    if isinstance(error, sqlite3.OperationalError):
        return not any(words in str(error) for words in OF_THE_DISK)
    return isinstance(error, DAMAGE)


def tidy(items: Any) -> None:
    """Remove files that no row names, and rows without their file. Nobody else may be writing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of each; what matters is counted when records are read
        items.check(fix=True)


@dataclass(frozen=True, slots=True)
class Buffers:
    """A value in several parts, written one after the other. breaks: of the thread that writes them."""

    parts: tuple[Any, ...]
    breaks: Breaks = NO_BREAKS

    @property
    def nbytes(self) -> int:
        return sum(memoryview(part).nbytes for part in self.parts)


class NotBytes(TypeError):
    """Something other than bytes was to be stored, or was found."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Bytes and Buffers only, in both directions; the file names that diskcache makes, and no others.

    Short bytes lie in the database, long ones and all Buffers in files.
    """

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
        filename, full_path = self.filename(key, value)
        path = Path(full_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                for part in buffers.parts:
                    with buffers.breaks.work():
                        file.write(part)
        except OSError:
            self.remove(filename)
            raise
        return path.stat().st_size, diskcache.core.MODE_BINARY, filename, None

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_RAW and isinstance(value, bytes | memoryview):
            return bytes(value)
        if mode != diskcache.core.MODE_BINARY or filename is None or not FILENAME.fullmatch(filename):
            raise NotBytes("an item in the database is not plain bytes")
        return super().fetch(mode, filename, value, read)

    def remove(self, file_path: str) -> None:
        if FILENAME.fullmatch(file_path):
            super().remove(file_path)
