"""Reads another process's database of diskcache as it is now, without writing: no lock, no index, no copy.

SQLite itself writes beside a database that it only reads (the shared index of its log), and cannot read one
on a read-only disk whose last writer was killed. So the file and its log are read as bytes and put together
in memory (sqlite.org/fileformat2.html, section 4).
"""

from __future__ import annotations

import array
import os
import sqlite3
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

FILE_HEADER = 100
LOG_HEADER = 32
FRAME_HEADER = 24
LOG_MAGIC = 0x377F0682  # the lowest bit is set where checksums are big-endian
READ_FORMS = slice(18, 20)  # of the file's header: 2 is with a log, 1 without
TRIES = 20
TRY_AGAIN_S = 0.05
MODE_RAW, MODE_BINARY = 1, 2  # of diskcache; the contract test holds them


class NotBytes(TypeError):
    """Something other than bytes was to be stored, or was found."""


def open_plain(path: Path) -> BufferedReader:
    """Opens a file for reading, and never through a link. Raises OSError; what is not a file counts as
    missing.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    file = open(str(path), "rb", opener=opener)  # noqa: SIM115  # its reader closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(f"{path} is not a file")
    return file


@dataclass(frozen=True, slots=True)
class Row:
    """One item.

    filename: of the file with its bytes, relative to the database's folder.
    value: its bytes, where they are in the database.
    """

    filename: str | None
    value: bytes | None


def read_rows(base: Path) -> dict[bytes, Row]:
    """All items of the database in this folder, by key. Raises OSError, sqlite3.Error, NotBytes."""
    with closing(open_image(base)) as database:
        found: dict[bytes, Row] = {}
        for key, raw, mode, filename, value in database.execute(
            "SELECT key, raw, mode, filename, value FROM Cache"
        ):
            if not raw or not isinstance(key, bytes):
                raise NotBytes("a key in the database is not plain bytes")
            inline = mode == MODE_RAW and isinstance(value, bytes)
            filed = mode == MODE_BINARY and isinstance(filename, str)
            found[key] = Row(filename if filed else None, value if inline else None)
        return found


def table_names(base: Path) -> set[str]:
    """The tables of the database in this folder. Raises OSError, sqlite3.Error."""
    with closing(open_image(base)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def settings_of(base: Path) -> dict[str, object]:
    """What diskcache was told when it made the database. Raises OSError, sqlite3.Error."""
    with closing(open_image(base)) as database:
        return dict(database.execute("SELECT key, value FROM Settings"))


def open_image(base: Path) -> sqlite3.Connection:
    """The database in memory. Raises OSError, sqlite3.Error."""
    image = database_image(*read_both(base))
    connection = sqlite3.connect(":memory:")
    try:
        if image:
            connection.deserialize(image)
    except (sqlite3.Error, OverflowError) as error:
        connection.close()
        raise sqlite3.DatabaseError(str(error)) from error
    return connection


def read_both(base: Path) -> tuple[bytes, bytes]:
    """The database and its log, both of the same moment."""
    for _ in range(TRIES):
        before = marks(base)
        data = read_file(base / "cache.db")
        try:
            log = read_file(base / "cache.db-wal")
        except FileNotFoundError:
            log = b""
        if marks(base) == before:
            return data, log
        time.sleep(TRY_AGAIN_S)
    raise OSError(f"{base / 'cache.db'} is written so often that it cannot be read whole: try again")


def read_file(path: Path) -> bytes:
    with open_plain(path) as file:
        return file.read()


def marks(base: Path) -> list[tuple[int, int, int]]:
    """Values that change when either file is written."""
    found: list[tuple[int, int, int]] = []
    for name in ("cache.db", "cache.db-wal"):
        try:
            about = (base / name).lstat()
        except FileNotFoundError:
            found.append((0, 0, 0))
        else:
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
    return found


def database_image(data: bytes, log: bytes) -> bytes:
    """The database with what its log holds, as a database without a log."""
    pages = bytearray(data)
    size = 0
    for number, page, total in committed(log):
        size = total
        at = (number - 1) * len(page)
        if len(pages) < at:
            pages += bytes(at - len(pages))
        pages[at : at + len(page)] = page
    if size:
        del pages[size:]
    if len(pages) >= FILE_HEADER:
        pages[READ_FORMS] = b"\1\1"
    return bytes(pages)


def committed(log: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(number, page, pages of the whole database) of each page in the log, in whole transactions only."""
    if len(log) < LOG_HEADER:
        return
    magic, _, page_size = struct.unpack_from(">III", log)
    if magic & ~1 != LOG_MAGIC or page_size < 512 or page_size & (page_size - 1):
        return
    swap = (magic & 1) != (sys.byteorder == "big")
    salt = log[16:24]
    sums = checksum(log[: LOG_HEADER - 8], (0, 0), swap)
    if sums != struct.unpack_from(">II", log, LOG_HEADER - 8):
        return
    waiting: list[tuple[int, bytes]] = []
    for at in range(LOG_HEADER, len(log) - FRAME_HEADER - page_size + 1, FRAME_HEADER + page_size):
        number, pages = struct.unpack_from(">II", log, at)
        page = log[at + FRAME_HEADER : at + FRAME_HEADER + page_size]
        sums = checksum(page, checksum(log[at : at + 8], sums, swap), swap)
        if log[at + 8 : at + 16] != salt or sums != struct.unpack_from(">II", log, at + 16) or not number:
            return
        waiting.append((number, page))
        if pages:
            yield from ((one, content, pages * page_size) for one, content in waiting)
            waiting.clear()


def checksum(data: bytes, sums: tuple[int, int], swap: bool) -> tuple[int, int]:
    """SQLite's checksum, of an even number of words."""
    words = array.array("I", data)
    if swap:
        words.byteswap()
    first, second = sums
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
