"""A folder that cannot be written any more: it is said, nothing wrong is served, and it comes back."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.cache.blobs import BytesDisk
from engine.cache.disk import Folder
from engine.cache.entry import Change
from engine.cache.ownership import LOCK, SEGMENTS
from tests.bench.torture import LIMIT, content, segment
from tests.engine.cache.folders import GONE, earlier, other_version, put, state

ROUND_S = 3.0  # between two calls of attend()


@dataclass
class Server:
    """A folder as the writing thread of a server has it, and its clock."""

    path: Path
    now: float = 0.0
    number: int = 0
    changes: list[Change] = field(default_factory=list)
    folder: Folder = field(init=False)

    def __post_init__(self) -> None:
        self.folder = Folder(self.path, LIMIT, patient=True, clock=lambda: self.now)
        self.folder.load()

    def write(self, count: int = 1) -> bool:
        """Whether all of so many new segments were stored."""
        self.number += count
        fresh = [segment(number) for number in range(self.number - count, self.number)]
        stored = [self.folder.write(record, (data,)) for record, data in fresh]
        return None not in stored

    def live(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += ROUND_S
            change = self.folder.attend()
            self.changes += [change] if change is not None else []

    def within_a_minute(self) -> bool:
        """Whether it writes again in time."""
        until = self.now + 60
        while self.folder.readonly and self.now < until:
            self.live(ROUND_S)
        return self.write()

    def readable(self) -> int:
        """How many can be read; each as it was written."""
        count = 0
        for name in list(self.folder.entries):
            file = self.folder.read(name)
            if file is not None:
                with file:
                    data = file.read()
                assert data == content(name, len(data))
                count += 1
        return count


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "cache")
    assert server.write(5)
    yield server
    server.folder.close()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("noticed", ["at rest", "in a write"])
def test_a_folder_that_goes_is_noticed_and_written_again(
    server: Server, how: str, noticed: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(server.folder.entries)
    GONE[how](server.path)
    if noticed == "in a write":
        assert not server.write(), "nothing is written that no database names"
        assert server.folder.readonly
    else:
        server.live(2 * ROUND_S)
    assert server.within_a_minute()
    assert server.folder.readonly == ""
    assert server.folder.counts.outages == 1
    assert len([line for line in said(caplog) if "no longer written" in line]) == 1
    assert len([line for line in said(caplog) if "written again" in line]) == 1
    gone = {name for change in server.changes for name in change.gone}
    assert gone == before - set(server.folder.entries)
    assert server.readable() == len(server.folder.entries)
    assert server.folder.counts.damaged == 0
    names = {str(file.relative_to(server.path / SEGMENTS)) for file in server.path.rglob("*.val")}
    assert len(names) == len(server.folder.entries), "no file that no database names"


def test_reading_from_a_folder_that_goes_is_a_miss_and_no_damage(server: Server) -> None:
    shutil.rmtree(server.path)
    assert server.readable() == 0
    assert (server.folder.counts.damaged, server.folder.counts.gone) == (0, 5)


def test_a_folder_replaced_by_a_users_is_left_alone_and_taken_up_again_when_it_is_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.path.rename(server.path.with_name("old"))
    put(server.path, f"{SEGMENTS}/1.wav", "notes.txt")
    before = state(server.path)
    server.live(60)
    assert not server.write()
    assert "fortieth did not make it" in server.folder.readonly
    assert len(said(caplog)) == 2
    assert state(server.path) == before
    shutil.rmtree(server.path)
    server.path.with_name("old").rename(server.path)
    assert server.within_a_minute()
    assert server.readable() == 6
    assert [len(change.fresh) for change in server.changes] == [0, 5]


def test_another_that_writes_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Server(tmp_path / "cache")
    assert first.write(3)
    second = Server(tmp_path / "cache", number=50)
    assert second.folder.readonly == "another process writes to it"
    assert second.readable() == 3
    assert first.write(3)
    first.folder.remove(segment(0)[0].name)
    second.live(60)
    assert not second.write()
    first.folder.close()
    assert second.within_a_minute()
    assert [len(change.fresh) for change in second.changes] == [3]
    assert second.changes[0].gone == {segment(0)[0].name}
    assert second.readable() == len(second.folder.entries)
    assert second.folder.counts.damaged == 0
    second.folder.close()


def test_a_lock_that_is_removed_lets_no_two_write(server: Server) -> None:
    (server.path / LOCK).unlink()
    other = Server(server.path, number=50)
    assert other.write()
    assert not server.write()
    server.live(60)
    assert server.folder.readonly == "another process writes to it"
    assert server.readable() == 6, "what the other has is read"
    other.folder.close()
    assert server.within_a_minute()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.EIO, "Input/output error"),
        sqlite3.OperationalError("database or disk is full"),
    ],
    ids=str,
)
def test_a_disk_that_fails_for_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    with monkeypatch.context() as failing:

        def fail(*_: Any, **__: Any) -> Any:
            raise error

        failing.setattr(BytesDisk, "store", fail)
        assert not server.write()
        server.live(300)
        assert not server.write()
        assert server.readable() == 5, "it still reads"
        assert str(error) in server.folder.readonly
        assert len(said(caplog)) == 1
    assert server.within_a_minute()
    assert len(said(caplog)) == 2
    assert server.folder.counts.outages == 1
    assert server.changes == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk of its own")
def test_a_full_disk_that_is_emptied_and_one_that_is_mounted_read_only(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        server = Server(disk / "cache")
        assert server.write(3)
        with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(2**16)):
                pass
        while server.write():
            pass
        server.live(120)
        assert not server.write()
        assert server.readable() == len(server.folder.entries) >= 3
        (disk / "ballast").unlink()
        assert server.within_a_minute()
        server.folder.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = state(disk)
        reader = Server(disk / "cache", number=90)
        assert "Read-only" in reader.folder.readonly
        assert reader.readable() == len(server.folder.entries)
        reader.live(30)
        assert state(disk) == before
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert reader.within_a_minute()
        reader.folder.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_cache_of_another_version_is_left_alone_and_named(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.path.rename(server.path.with_name("old"))
    other_version(server.path)
    before = state(server.path / SEGMENTS)
    server.live(60)
    assert "format 99, ours is 3" in server.folder.readonly
    assert state(server.path / SEGMENTS) == before
    started = Server(server.path)
    assert "format 99, ours is 3" in started.folder.readonly
    assert state(server.path / SEGMENTS) == before
    shutil.rmtree(server.path)
    server.path.with_name("old").rename(server.path)
    assert server.within_a_minute()


def test_one_that_could_not_be_opened_at_the_start_is_opened_later(tmp_path: Path) -> None:
    put(tmp_path, "in the way")
    server = Server(tmp_path / "in the way" / "cache")
    assert server.folder.readonly
    assert not server.write()
    (tmp_path / "in the way").unlink()
    assert server.within_a_minute()
    server.folder.close()


def test_a_database_that_is_damaged_while_it_is_written_starts_over(server: Server) -> None:
    for file in (server.path / SEGMENTS).glob("cache.db*"):
        with file.open("r+b") as opened:
            opened.write(b"no database at all" * 4096)
    server.write(3)
    assert server.within_a_minute()
    server.folder.close()
    assert Server(server.path).readable() > 0


def test_a_cache_without_a_marker_is_taken_over_by_who_may_write(tmp_path: Path) -> None:
    earlier(tmp_path / "cache")
    server = Server(tmp_path / "cache", number=10)
    assert server.readable() == 3
    assert server.write()
    server.folder.close()
