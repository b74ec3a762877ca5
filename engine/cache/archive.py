"""The disk tier's two threads: one writes what a turn left behind, one reads what a turn asks for.

The engine thread adds tasks and collects news; it never waits for the disk.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import msgspec

from engine.cache.blobs import DAMAGE, FAILURES
from engine.cache.disk import Folder
from engine.cache.entry import Change
from engine.cache.layers import Kept
from engine.cache.record import Record, digest_of
from engine.cache.serde import NotWhole, decode, encode
from engine.cache.throttle import Stopped, Throttle
from engine.tuning import CPU

log = logging.getLogger("engine.cache")

LEAST_GRACE_S = 5.0  # seconds for writing what waits, when the process ends
MOST_GRACE_S = 60.0
SLOW_DISK = 20 * 2**20  # bytes a second, of a memory card or a disk that others use too
CUT_S = 2.0  # seconds until a thread that was stopped in the middle of a task has cleaned up
ATTEND_S = 3.0  # seconds between two looks at the folder, which cost some system calls


@dataclass(frozen=True, slots=True)
class Saved:
    """A segment is on disk. gone: segments evicted for it. nbytes: 0 if it could not be written."""

    name: bytes
    nbytes: int
    gone: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A segment has been read. kept: None where it was damaged, or is gone."""

    name: bytes
    kept: Kept | None


News = Saved | Loaded | Change


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work for a thread. failed: the news when run() raises. lent: who waits for it."""

    run: Callable[[], None]
    failed: News | None = None
    lent: Future[Kept | None] | None = None


def nothing() -> None:
    """Does nothing."""


class Archive:
    """Owns the folder. save, fetch, drop and news are called by the engine thread.

    breaks: as in DeviceTuning.
    most_pending: bytes that may wait to be written.
    """

    def __init__(self, folder: Folder, at_rest: str, most_pending: int, breaks: float = CPU.breaks) -> None:
        self.folder = folder
        self.pending: dict[bytes, Kept] = {}  # not written yet, so that it is read from here
        self.disk_bytes = folder.bytes_used()
        self.skipped = 0  # segments that were not written because too much was pending
        self.wake: Callable[[], None] = nothing  # wakes the engine thread, which may wait for what was read
        self.breaks = Throttle(breaks)
        self.attend_s = ATTEND_S
        self._attended = time.monotonic()
        self._at_rest = at_rest
        self._most_pending = most_pending
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._writes: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(tasks,), name=name, daemon=True)
            for name, tasks in (("cache-writer", self._writes), ("cache-reader", self._reads))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Bytes that are to be written, as of the last news()."""
        return sum(kept.nbytes for kept in self.pending.values())

    @property
    def grace_s(self) -> float:
        """Seconds that writing what waits may take on a slow disk."""
        return min(MOST_GRACE_S, LEAST_GRACE_S + self.waiting / SLOW_DISK)

    def save(self, record: Record, kept: Kept, bounded: bool = True) -> bool:
        """Writes a segment soon; returns False when it will not. The record's size and checksum are filled
        in.

        What is pending stays in memory and is therefore bounded, except for what is in memory anyway. A
        segment that is above the bound by itself is written when nothing else waits: otherwise long prompts
        would never reach the disk.
        """
        above = bounded and bool(self.pending) and self.waiting + kept.nbytes > self._most_pending
        if self.folder.readonly or above:
            self.skipped += 1
            return False
        self.pending[record.name] = kept
        self._writes.put(Task(lambda: self._write(record, kept), Saved(record.name, 0)))
        return True

    def _write(self, record: Record, kept: Kept) -> None:
        parts = encode(kept, self._at_rest)
        size = sum(memoryview(part).nbytes for part in parts)
        whole = msgspec.structs.replace(
            record, size=size, checksum=digest_of(parts, self.breaks), saved=time.time()
        )
        gone = self.folder.write(whole, parts, self.breaks)
        self.disk_bytes = self.folder.bytes_used()
        self._news.put(Saved(record.name, 0 if gone is None else size, tuple(gone or ())))

    def fetch(self, name: bytes, whole: bool = True) -> None:
        """Reads a segment soon; without `whole` its states are verified and left out."""
        self._reads.put(Task(lambda: self._read(name, whole), Loaded(name, None)))

    def lend(self, name: bytes, whole: bool = True) -> Future[Kept | None]:
        """Reads a segment soon for one request, because RAM has no room for it. The result is None where it
        is damaged or gone, and that is news too; it is cancelled where the process ends.
        """
        lent: Future[Kept | None] = Future()

        def run() -> None:
            kept: Kept | None = None
            try:
                kept = self._load(name, whole)
            finally:
                lent.set_result(kept)
                if kept is None:
                    self._tell(Loaded(name, None))

        self._reads.put(Task(run, lent=lent))
        return lent

    def _read(self, name: bytes, whole: bool) -> None:
        self._tell(Loaded(name, self._load(name, whole)))

    def _tell(self, news: News) -> None:
        """Adds news for the engine thread, which may wait for it."""
        self._news.put(news)
        self.wake()

    def _load(self, name: bytes, whole: bool) -> Kept | None:
        """Reads and verifies a segment; None where it is damaged or gone."""
        kept: Kept | None = None
        found = self.folder.open(name)
        if found is not None:
            file, entry = found
            try:
                with file:
                    kept = decode(file, entry.size, entry.checksum, whole, self.breaks)
                self.folder.counts.read += 1
            except NotWhole as error:
                log.info(
                    "a segment of the prefix cache on disk is damaged and will be computed again: %s", error
                )
                self.folder.spoiled(name)
        return kept

    def _attend(self) -> None:
        """Looks after the folder; called now and then by the thread that writes."""
        change = self.folder.attend()
        if change is not None:
            self.disk_bytes = self.folder.bytes_used()
            self._news.put(change)

    def drop(self, name: bytes) -> None:
        """Deletes a segment soon, after what is being written."""
        self.pending.pop(name, None)
        self._writes.put(Task(lambda: self.folder.remove(name)))

    def news(self) -> list[News]:
        """What has happened since the last call."""
        found: list[News] = []
        while True:
            try:
                found.append(self._news.get_nowait())
            except queue.Empty:
                return found

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything added so far has been written; returns whether that was in time."""
        done = threading.Event()
        self._writes.put(Task(done.set))
        return done.wait(timeout_s)

    def _work(self, tasks: queue.SimpleQueue[Task | None]) -> None:
        """Runs one of the threads. A task that fails must not end the thread: what the task was for is then a
        miss.
        """
        writes = tasks is self._writes
        while (task := self._next(tasks) if writes else tasks.get()) is not None:
            if self._closing.is_set() and tasks is self._reads:
                if task.lent is not None:
                    task.lent.cancel()
                continue  # nobody asks for it any more
            try:
                task.run()
            except Stopped:
                log.debug("a task of the prefix cache on disk was stopped because the process ends")
            except (
                Exception
            ) as error:  # the boundary of a thread: a file may hold anything, a disk may do anything
                log.warning("a task of the prefix cache on disk failed: %s: %s", type(error).__name__, error)
                log.debug("where the task failed", exc_info=True)
                if task.failed is not None:
                    self._tell(task.failed)
            task = None  # while the next is waited for, what this one read or wrote is not kept in memory

    def _next(self, tasks: queue.SimpleQueue[Task | None]) -> Task | None:
        """The writing thread's next task; the folder is looked after meanwhile."""
        while True:
            if time.monotonic() >= self._attended + self.attend_s and not self._closing.is_set():
                self._attended = time.monotonic()
                with contextlib.suppress(*FAILURES, *DAMAGE):
                    self._attend()
            try:
                return tasks.get(timeout=self.attend_s)
            except queue.Empty:
                continue

    def close(self, grace_s: float | None = None) -> int:
        """Writes what is pending, for `grace_s` at most (None: for grace_s()), and lets others use the
        folder. Returns the bytes that were left out.

        What is being written when the time is over is removed again.
        """
        until = time.monotonic() + (self.grace_s if grace_s is None else grace_s)
        self.breaks.hurry(True)
        self._closing.set()
        for tasks in (self._writes, self._reads):
            tasks.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.breaks.stop()
        for thread in self._threads:
            thread.join(CUT_S)
        written = {one.name for one in self.news() if isinstance(one, Saved) and one.nbytes}
        self.folder.close()
        return sum(kept.nbytes for name, kept in self.pending.items() if name not in written)
