"""Decides whose a folder is: ours holds our marker file; nothing is written into or removed from another.

Only claim() writes. Links are never followed below the folder's own path.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.cache.record import Record, decode_record
from engine.cache.snapshot import NotBytes, open_plain, read_rows, settings_of, table_names

MARKER = "fortieth-cache"
SIGNATURE = b"fortieth prefix cache"
TEXT = SIGNATURE + (
    b"\n\nfortieth keeps computed prompts in this folder and may delete them at any time. It deletes no\n"
    b"file that it did not make. Without this file it does not use the folder at all.\n"
)
SEGMENTS = "segments"  # for record.FORMAT; another format gets another name, and is not touched by this one
LOCK = "lock"
DATABASE = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal")
STEP = re.compile(r"[0-9a-f]{2}")
FILENAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
SETTINGS = {"disk_min_file_size": 32 * 1024, "eviction_policy": "none", "cull_limit": 0}
BEING_MADE_S = 0.3  # seconds that another process may take to write the marker it has just made


class Standing(enum.Enum):
    missing = "missing"  # there is nothing at the path
    empty = "empty"
    ours = "ours"
    earlier = "earlier"  # ours by sure signs, of a version that made no marker
    foreign = "foreign"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whose a folder is. why: a line for people, where the folder is not to be used."""

    standing: Standing
    why: str = ""

    @property
    def usable(self) -> bool:
        """Whether there is something of ours to read."""
        return self.standing in (Standing.ours, Standing.earlier)


class NotOurs(OSError):
    """The folder belongs to somebody else. str() is a line for people."""


def look_at(path: Path) -> Finding:
    """Whose the folder is, without writing anything. Raises OSError where that cannot be seen."""
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        dangling = path.is_symlink()
        return foreign(path, "is a link to nothing") if dangling else Finding(Standing.missing)
    except NotADirectoryError:
        return foreign(path, "is not a folder")
    if not names:
        return Finding(Standing.empty)
    if MARKER in names and is_marker(path / MARKER):
        return linked(path) or Finding(Standing.ours)
    if set(names) <= {SEGMENTS, LOCK, MARKER} and is_earlier(path):
        return Finding(Standing.earlier)
    return foreign(
        path,
        f"is not empty, and fortieth did not make it (it has no file {MARKER})",
        f"name a new or an empty folder, such as {path / 'fortieth'}; if this one is the cache of an"
        " earlier version, delete it",
    )


def foreign(path: Path, what: str, advice: str = "name another folder with --cache-dir") -> Finding:
    return Finding(
        Standing.foreign, f"the folder for the cache, {path}, {what}. Nothing was touched: {advice}"
    )


def is_marker(file: Path) -> bool:
    """Whether we made this marker. An empty one is waited for: another process may have made it just now."""
    until = time.monotonic() + BEING_MADE_S
    while True:
        try:
            with open_plain(file) as opened:
                start = opened.read(len(SIGNATURE))
        except OSError:
            return False
        if start or time.monotonic() > until:
            return start == SIGNATURE
        time.sleep(BEING_MADE_S / 20)


def linked(path: Path) -> Finding | None:
    """Finds links in the place of our files, and another program's database."""
    base = path / SEGMENTS
    for place in (base, path / LOCK, *(base / name for name in DATABASE)):
        if place.is_symlink():
            return foreign(path, f"holds a link where a file of fortieth belongs ({place.relative_to(path)})")
    with contextlib.suppress(OSError, sqlite3.Error):  # what is missing or damaged may be made anew
        tables = table_names(base)
        if tables and not tables & {"Cache", "Settings"}:
            return foreign(path, f"holds another program's database ({SEGMENTS}/{DATABASE[0]})")
    return None


def is_earlier(path: Path) -> bool:
    """Whether the folder is a cache of a version without marker, or one whose marker is damaged: everything
    else in it looks as only our files do.
    """
    base, lock = path / SEGMENTS, path / LOCK
    with contextlib.suppress(OSError, sqlite3.Error, NotBytes):
        about = lock.lstat()
        if lock.is_symlink() or not lock.is_file() or about.st_size or not is_folder(base):
            return False
        stray = [name for name in os.listdir(base) if name not in DATABASE and not STEP.fullmatch(name)]
        if stray or any(strays(base)):
            return False
        made = settings_of(base)
        if any(made.get(key) != value for key, value in SETTINGS.items()):
            return False
        rows = read_rows(base)
        records = [row.value for key, row in rows.items() if key[:1] == b"m" and row.value is not None]
        filed = [row.filename for row in rows.values() if row.filename is not None]
        keys = all(key[:1] in (b"m", b"t") for key in rows)
        ours = any(isinstance(decode_record(data), Record) for data in records)
        return keys and (ours or not rows) and all(FILENAME.fullmatch(name) for name in filed)
    return False


def strays(base: Path) -> Iterator[Path]:
    """What lies below the two levels of folders with our names and does not have a name of our pattern."""
    for first in steps(base):
        for second in sorted(first.iterdir()):
            if not STEP.fullmatch(second.name) or not is_folder(second):
                yield second
                continue
            for file in second.iterdir():
                name = f"{first.name}/{second.name}/{file.name}"
                if not FILENAME.fullmatch(name) or file.is_symlink() or not file.is_file():
                    yield file


def steps(folder: Path) -> Iterator[Path]:
    """The folders in it that have names like the folders of our files."""
    for one in sorted(folder.iterdir()):
        if STEP.fullmatch(one.name) and is_folder(one):
            yield one


def our_files(base: Path) -> Iterator[str]:
    """Names of the files below it that match our pattern, relative to it."""
    for first in steps(base):
        for second in steps(first):
            for file in second.iterdir():
                name = f"{first.name}/{second.name}/{file.name}"
                if FILENAME.fullmatch(name) and not file.is_symlink() and file.is_file():
                    yield name


def is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def remove_file(base: Path, name: str) -> None:
    """Deletes one of our files, and folders above it that are empty then; files of other patterns stay."""
    if not FILENAME.fullmatch(name):
        return
    file = base / name
    if not is_folder(file.parent.parent) or not is_folder(file.parent) or file.is_symlink():
        return
    with contextlib.suppress(OSError):
        file.unlink()
    with contextlib.suppress(OSError):
        file.parent.rmdir()
        file.parent.parent.rmdir()


def remove_all(base: Path) -> None:
    """Deletes the database and all files of our pattern; anything else stays."""
    for name in list(our_files(base)):
        remove_file(base, name)
    for name in DATABASE:
        with contextlib.suppress(OSError):
            (base / name).unlink()


class Lock:
    """The lock of the one process that may write. Made by take()."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, file: Path) -> Lock | None:
        """Takes the lock; None where another process has it. Raises OSError where there can be no lock."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor)

    @classmethod
    def held(cls, file: Path) -> bool:
        """Whether another process has the lock; makes nothing."""
        try:
            with open_plain(file) as opened:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def release(self) -> None:
        """Releases the lock; to be called once."""
        os.close(self._descriptor)


def claim(path: Path) -> None:
    """Makes the folder ours: a new or empty one, or one of an earlier version. Raises NotOurs, OSError."""
    found = look_at(path)
    if found.standing is Standing.foreign:
        raise NotOurs(found.why)
    if found.standing is Standing.ours:
        return
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_marker(path, anew=found.standing is Standing.earlier)


def make_marker(path: Path, anew: bool) -> None:
    """Makes the marker. anew: replaces a damaged one. Raises OSError, leaving no empty marker behind."""
    file = path / MARKER
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags | (os.O_TRUNC if anew else os.O_EXCL), 0o600)
    except FileExistsError:
        if is_marker(file):  # made by another process that started beside this one
            return
        raise
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(TEXT)
    except OSError:
        file.unlink(missing_ok=True)
        raise
