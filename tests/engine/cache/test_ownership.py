"""Only our own files are ever touched."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.cache.blobs import BytesDisk
from engine.cache.disk import Folder
from engine.cache.ownership import (
    LOCK,
    MARKER,
    SEGMENTS,
    TEXT,
    NotOurs,
    Standing,
    claim,
    look_at,
    make_marker,
)
from engine.cache.snapshot import read_rows
from engine.client import refusal
from engine.config import EngineConfig
from tests.bench.torture import LIMIT, kill_a_writer, read_all, segment
from tests.engine.cache.folders import NOT_OURS, OURS, cache, earlier, put, state


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_folder_that_is_not_ours_is_refused_and_stays_as_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    NOT_OURS[name](path)
    before = state(tmp_path)
    for write in (True, False):
        with pytest.raises(NotOurs) as refused:
            Folder(path, LIMIT, write)
        assert str(path) in str(refused.value)
    assert refusal(EngineConfig(model="m", cache_dir=str(path))) == str(refused.value)
    assert state(tmp_path) == before


def test_a_new_and_an_empty_folder_become_ours(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for name in ("new/in/new", "link"):
        path = tmp_path / name
        assert look_at(path).standing in (Standing.missing, Standing.empty)
        cache(path)
        assert look_at(path).standing is Standing.ours
        assert b"deletes no" in (path / MARKER).read_bytes()


@pytest.mark.parametrize("count", [0, 3])
def test_a_cache_of_an_earlier_version_is_read_as_it_is_and_then_taken_over(
    tmp_path: Path, count: int
) -> None:
    earlier(tmp_path, count)
    before = state(tmp_path)
    reader = Folder(tmp_path, LIMIT, write_wanted=False)
    assert len(reader.load()) == count
    assert state(tmp_path) == before
    assert read_all(tmp_path).served == count
    assert look_at(tmp_path).standing is Standing.ours


def test_a_marker_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    cache(tmp_path)
    (tmp_path / MARKER).write_bytes(b"gortieth" + TEXT[8:])
    assert read_all(tmp_path).served == 3
    assert (tmp_path / MARKER).read_bytes() == TEXT


def test_a_marker_is_not_made_twice(tmp_path: Path) -> None:
    make_marker(tmp_path, anew=False)
    make_marker(tmp_path, anew=False)
    put(tmp_path, MARKER, data=b"another's")
    with pytest.raises(FileExistsError):
        make_marker(tmp_path, anew=False)


def test_two_that_claim_an_empty_folder_at_once_both_find_it_theirs(tmp_path: Path) -> None:
    # spawned: a forked child of this process, whose other threads may hold locks, can wait for ever
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for round_ in range(20):
            path = tmp_path / str(round_)
            path.mkdir()
            pool.map(claim, [path, path], chunksize=1)
            assert look_at(path).standing is Standing.ours


STRANGERS = (
    "notes.txt",
    f"{SEGMENTS}/1.wav",
    f"{SEGMENTS}/cache.db.backup",
    f"{SEGMENTS}/ab/1.wav",
    f"{SEGMENTS}/ab/cd/0123.val",
    f"{SEGMENTS}/ab/cd/0123456789ABCDEF0123456789AB.val",
    f"{SEGMENTS}/AB/cd/0123456789abcdef0123456789ab.val",
    f"{SEGMENTS}/ab/cd/0123456789abcdef0123456789ab.val.txt",
)


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Path]:
    """One of ours in which a user put files and links; they must be there afterwards."""
    path = tmp_path / "cache"
    cache(path, 6)
    while {"ab", "ef"} & {one.name for one in (path / SEGMENTS).iterdir()}:  # names are drawn at random
        shutil.rmtree(path)
        cache(path, 6)
    put(path, *STRANGERS)
    put(tmp_path / "music", "ab.wav", OURS.split("/", 2)[2])
    (path / SEGMENTS / "ef").symlink_to(tmp_path / "music")
    (path / SEGMENTS / "ab" / "ef").symlink_to(tmp_path / "music")
    (path / SEGMENTS / "ab" / "cd" / OURS.split("/")[2]).symlink_to(tmp_path / "music" / "ab.wav")
    kept = {file: file.read_bytes() for file in (tmp_path / "music").iterdir()}
    yield path
    for name in STRANGERS:
        assert (path / name).read_bytes() == b"a user's own", name
    assert {file: file.read_bytes() for file in (tmp_path / "music").iterdir()} == kept
    assert len([file for file in path.rglob("*") if file.is_symlink()]) == 3


def test_a_start_removes_only_what_a_crash_left(mixed: Path) -> None:
    left = mixed / SEGMENTS / "01" / "23" / ("4" * 28 + ".val")
    put(left.parent, left.name)
    assert read_all(mixed).served == 6
    assert not left.exists()


def test_what_stands_in_the_way_of_a_name_is_passed_by(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's link at the first place that is drawn; it happened once in some hundred files."""
    drawn = iter(("ef/00/" + "1" * 28, "ab/ef/" + "2" * 28, "0a/0b/" + "3" * 28))
    folder = Folder(mixed, LIMIT)
    folder.load()

    def filename(disk: BytesDisk, key: object = None, value: object = None) -> tuple[str, str]:
        name = f"{next(drawn)}.val"
        return name, str(disk.base / name)

    monkeypatch.setattr(BytesDisk, "filename", filename)
    record, data = segment(7)
    assert folder.write(record, (data,)) is not None
    folder.close()
    assert (mixed / SEGMENTS / "0a" / "0b" / ("3" * 28 + ".val")).is_file()


def test_a_damaged_database_takes_only_our_files_with_it(mixed: Path) -> None:
    for file in mixed.glob(f"{SEGMENTS}/cache.db*"):
        if file.suffix != ".backup":
            file.write_bytes(b"this is no database at all" * 200)
    folder = Folder(mixed, LIMIT)
    assert folder.load() == []
    folder.close()


def test_purging_and_evicting_remove_only_our_files(mixed: Path) -> None:
    folder = Folder(mixed, LIMIT)
    folder.load()
    for number in range(100):
        record, data = segment(number)
        folder.write(record, (data,))
    assert folder.counts.evicted > 0
    folder.purge()
    folder.close()
    assert read_all(mixed).served == 0


def test_a_step_of_a_name_that_is_a_link_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(tmp_path / "cache", 0)
    (tmp_path / "music").mkdir()
    (tmp_path / "cache" / SEGMENTS / "00").symlink_to(tmp_path / "music")
    monkeypatch.setattr(os, "urandom", lambda size: bytes(size))
    folder = Folder(tmp_path / "cache", LIMIT)
    record, data = segment(1)
    assert folder.write(record, (data,)) is None
    assert list((tmp_path / "music").iterdir()) == []
    folder.close()


def test_who_only_reads_changes_nothing_whatever_state_the_folder_is_in(tmp_path: Path) -> None:
    kill_a_writer(tmp_path / "killed", 0, 0.3)
    assert (tmp_path / "killed" / SEGMENTS / "cache.db-wal").stat().st_size
    cache(tmp_path / "closed")
    live = Folder(tmp_path / "live", LIMIT)
    for number in range(5):
        record, data = segment(number)
        assert live.write(record, (data,)) is not None
    for name, least in (("killed", 1), ("closed", 3), ("live", 5)):
        before = state(tmp_path / name)
        reader = Folder(tmp_path / name, LIMIT, write_wanted=False)
        assert len(reader.load()) >= least
        assert reader.verify() == []
        reader.close()
        assert state(tmp_path / name) == before
    live.close()


def test_a_database_is_read_as_sqlite_reads_it(tmp_path: Path) -> None:
    """After any number of transactions, with the log cut anywhere, as a crash may leave it."""
    chance = random.Random(5)
    folder = Folder(tmp_path / "cache", LIMIT)
    for number in range(60):
        record, data = segment(number % 40)
        folder.write(record, (data,))
        if number % 7 == 0:
            folder.purge()
    base = tmp_path / "cache" / SEGMENTS
    for round_ in range(12):
        copy = tmp_path / str(round_)
        copy.mkdir()
        shutil.copy(base / "cache.db", copy)
        log = (base / "cache.db-wal").read_bytes()
        log = log[: chance.randrange(len(log))] if round_ else log
        (copy / "cache.db-wal").write_bytes(log)
        found = set(read_rows(copy))
        with closing(sqlite3.connect(copy / "cache.db")) as database:
            assert {key for (key,) in database.execute("SELECT key FROM Cache")} == found
    folder.close()
    assert (tmp_path / "cache" / LOCK).exists()
