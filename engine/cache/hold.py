"""The right to write in a folder: its marker, its lock and its database, whether they are still in place."""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cache.blobs import DAMAGE, FAILURES, Buffers, is_damage, open_items, tidy
from engine.cache.contents import Contents, read_contents
from engine.cache.ownership import DATABASE, LOCK, MARKER, SEGMENTS, Lock, claim, is_marker, remove_all
from engine.cache.record import FORMAT

log = logging.getLogger("engine.cache")

PROBE = 64 * 1024  # bytes that are written to see whether a disk accepts any again
Identity = tuple[tuple[int, int] | None, ...]


class NoHold(OSError):
    """Why the folder cannot be written now. str() is for people."""


@dataclass(slots=True)
class Hold:
    """The right to write. Made by take(). contents: what was there. damaged: it was so damaged that it starts
    empty.
    """

    path: Path
    items: Any
    contents: Contents
    damaged: bool
    _lock: Lock
    _identity: Identity

    @classmethod
    def take(cls, path: Path, limit: int) -> Hold:
        """Makes the folder ours, locks it and opens its database. Raises OSError, leaving no lock behind."""
        # asked first, because a process that waits for the lock asks often: finding the folder's owner takes
        # longer
        if is_marker(path / MARKER) and Lock.held(path / LOCK):
            raise NoHold("another process writes to it")
        claim(path)
        lock = Lock.take(path / LOCK)
        if lock is None:
            raise NoHold("another process writes to it")
        try:
            base = path / SEGMENTS
            base.mkdir(exist_ok=True)
            items, contents, damaged = opened(base, limit)
            return cls(path, items, contents, damaged, lock, identity(path))
        except BaseException:
            lock.release()
            raise

    def changed(self) -> str:
        """What has happened to the folder since it was opened; "" for nothing."""
        if (now := identity(self.path)) == self._identity:
            return ""
        return "the folder or a part of it was removed" if None in now else "another folder took its place"

    def refused(self, need: int) -> str:
        """Why a disk that refused a write does not accept one of `need` bytes now; "" where it does."""
        try:
            free = shutil.disk_usage(self.path).free
            if free < need:
                return f"its disk is full: {free >> 20} of {need >> 20} MiB are free"
            *_, filename, _ = self.items.disk.store(Buffers((bytes(PROBE),)), False)
            self.items.disk.remove(filename)
        except (*FAILURES, *DAMAGE) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def close(self) -> None:
        """Lets other processes write."""
        with contextlib.suppress(*FAILURES, *DAMAGE):
            self.items.close()
        self._lock.release()


def opened(base: Path, limit: int) -> tuple[Any, Contents, bool]:
    """(the database, what is in it, whether it was so damaged that it starts empty). Raises OSError."""
    items: Any = None
    try:
        contents = read_contents(base)
        if contents.formats:
            raise NoHold(
                f"another version of fortieth wrote it (format {min(contents.formats)}, ours is {FORMAT});"
                " it is left alone: name another folder, or delete this one"
            )
        items = open_items(base, limit)
        tidy(base)
    except (*FAILURES, *DAMAGE) as error:
        if not is_damage(error):
            raise error if isinstance(error, OSError) else OSError(str(error)) from error
        log.warning("the cache at %s is damaged (%s) and starts empty", base.parent, error)
        if items is not None:
            with contextlib.suppress(*FAILURES, *DAMAGE):
                items.close()
        remove_all(base)
        return open_again(base, limit), Contents(), True
    return items, contents, False


def open_again(base: Path, limit: int) -> Any:
    """An empty database. Raises OSError."""
    try:
        return open_items(base, limit)
    except FAILURES as error:
        raise error if isinstance(error, OSError) else OSError(str(error)) from error


def identity(path: Path) -> Identity:
    """Identifies the folder, and everything that writing depends on, among others of the same name."""
    base = path / SEGMENTS
    return tuple(map(inode, (path, path / MARKER, path / LOCK, base, base / DATABASE[0])))


def inode(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
