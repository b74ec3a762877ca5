"""The folder: what it refuses, what it survives, what it never exceeds."""

from __future__ import annotations

import errno
import logging
import pickle
import random
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.cache.blobs import BytesDisk, open_items
from engine.cache.disk import Folder
from engine.cache.record import OtherFormat, Record, decode_record, encode_record
from engine.cache.snapshot import NotBytes
from tests.bench.torture import LIMIT, damage, kill_a_writer, read_all, segment


def filled(path: Path, count: int = 12, limit: int = LIMIT) -> Folder:
    folder = Folder(path, limit)
    folder.load()
    for number in range(count):
        record, data = segment(number)
        folder.write(record, (data,))
    return folder


def real_bytes(path: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def test_written_and_read_back_by_the_next_process(tmp_path: Path) -> None:
    filled(tmp_path).close()
    outcome = read_all(tmp_path)
    assert (outcome.served, outcome.wrong, outcome.damaged) == (12, 0, 0)


def test_others_on_the_machine_cannot_read_it(tmp_path: Path) -> None:
    filled(tmp_path / "cache", 1).close()
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("value", ["text", 7, 1.5, None, {"a": 1}, bytearray(b"x"), object()])
def test_anything_but_bytes_is_refused_on_the_way_in(tmp_path: Path, value: Any) -> None:
    items = open_items(tmp_path, LIMIT)
    with pytest.raises(NotBytes):
        items.set(b"key", value)
    with pytest.raises(NotBytes):
        items.set(value, b"value")
    items.close()


class Bomb:
    def __reduce__(self) -> Any:
        raise AssertionError("it was pickled")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("mode = 4, value", pickle.dumps([1])),
        ("mode = 3, value", b"x"),
        ("filename = '../../../etc/hostname', mode", 2),
        ("filename = '../lock', mode", 2),
    ],
)
def test_a_database_that_was_tampered_with_is_a_miss(tmp_path: Path, column: str, value: Any) -> None:
    filled(tmp_path, 3).close()
    with sqlite3.connect(tmp_path / "segments" / "cache.db") as database:
        name = segment(1)[0].name
        database.execute(f"UPDATE Cache SET {column} = ? WHERE key = ?", (value, b"t" + name))
    database.close()
    folder = Folder(tmp_path, LIMIT)
    folder.load()
    assert folder.read(name) is None
    assert (tmp_path / "lock").exists()
    assert Path("/etc/hostname").exists()
    folder.close()


def test_pickled_keys_are_refused_on_the_way_out(tmp_path: Path) -> None:
    disk = BytesDisk(str(tmp_path), min_file_size=10)
    with pytest.raises(NotBytes):
        disk.get(pickle.dumps(1), raw=False)
    with pytest.raises(NotBytes):
        disk.fetch(4, None, pickle.dumps(1), False)
    with pytest.raises(NotBytes):
        disk.put(Bomb())


def test_a_record_is_whole_or_nothing() -> None:
    record, _ = segment(5)
    data = encode_record(record)
    assert decode_record(data) == record
    for at in range(0, len(data), 3):
        assert decode_record(data[:at]) is None
        assert decode_record(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None
    assert decode_record(encode_record(msgspec.structs.replace(record, format=99))) == OtherFormat(99)


def test_the_limit_is_never_exceeded_and_the_longest_unused_goes(tmp_path: Path) -> None:
    folder = filled(tmp_path, 0)
    for number in range(120):
        record, data = segment(number)
        folder.touch([segment(0)[0].name], 1000.0)
        assert folder.write(record, (data,)) is not None
        assert real_bytes(tmp_path) <= LIMIT
    assert segment(0)[0].name in folder.entries
    assert folder.counts.evicted > 10
    assert segment(1)[0].name not in folder.entries
    folder.close()


def test_parents_stay_as_long_as_their_children_and_what_is_protected_stays(tmp_path: Path) -> None:
    folder = filled(tmp_path, 0)
    root, data = segment(0)
    folder.write(root, (data,))
    child, data = segment(1, root.name)
    folder.write(child, (data,))
    orphan, data = segment(2, b"unknown")
    assert folder.write(orphan, (data,)) is None, "it could never be used"
    folder.protected = frozenset([child.name])
    for number in range(3, 100):
        record, data = segment(number)
        folder.write(record, (data,))
    assert {root.name, child.name} <= set(folder.entries)
    folder.protected = frozenset()
    for number in range(100, 200):
        record, data = segment(number)
        folder.write(record, (data,))
    assert {root.name, child.name} & set(folder.entries) == set()
    folder.close()


def test_one_that_is_too_large_is_not_stored_and_nothing_goes_for_it_in_vain(tmp_path: Path) -> None:
    folder = filled(tmp_path, 5)
    folder.protected = frozenset(folder.entries)
    record, _ = segment(9)
    big = msgspec.structs.replace(record, size=LIMIT)
    assert folder.write(big, (b"x" * LIMIT,)) is None
    assert len(folder.entries) == 5
    folder.close()


def test_a_full_disk_ends_writing_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = filled(tmp_path, 3)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BytesDisk, "store", full)
    with caplog.at_level(logging.WARNING):
        for number in range(3, 6):
            record, data = segment(number)
            assert folder.write(record, (data,)) is None
    assert "No space left" in folder.readonly
    assert len(caplog.records) == 1
    file = folder.read(segment(1)[0].name)
    assert file is not None, "it still reads"
    file.close()
    folder.close()


def test_a_second_process_reads_and_does_not_write(tmp_path: Path) -> None:
    first = filled(tmp_path, 3)
    second = Folder(tmp_path, LIMIT)
    assert len(second.load()) == 3
    assert second.write(*pair(7)) is None
    file = second.read(segment(2)[0].name)
    assert file is not None
    file.close()
    second.close()
    assert first.write(*pair(7)) is not None
    first.close()


def pair(number: int) -> tuple[Record, tuple[bytes]]:
    record, data = segment(number)
    return record, (data,)


def test_a_database_that_is_no_database_starts_empty(tmp_path: Path) -> None:
    filled(tmp_path, 3).close()
    for file in (tmp_path / "segments").glob("cache.db*"):
        file.write_bytes(b"this is no database at all" * 200)
    folder = Folder(tmp_path, LIMIT)
    assert folder.load() == []
    assert folder.counts.damaged == 1
    assert folder.write(*pair(1)) is not None
    folder.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE Settings SET key = CAST(X'CCFF41' AS TEXT) WHERE key = 'count'",
        "UPDATE Settings SET value = 'x' WHERE key = 'disk_min_file_size'",
        "UPDATE Settings SET key = 'sise_limit' WHERE key = 'size_limit'",
        "UPDATE Cache SET key = 'text', raw = 1",
        "UPDATE Cache SET raw = 0",
        "UPDATE Cache SET filename = CAST(X'CCFF41' AS TEXT) WHERE filename IS NOT NULL",
        "UPDATE Cache SET mode = 'x', size = 'y'",
        "ALTER TABLE Cache RENAME COLUMN size TO sise",
    ],
)
def test_a_database_with_a_flipped_bit_serves_nothing_wrong(tmp_path: Path, damage: str) -> None:
    """UnicodeDecodeError out of sqlite3 ended the server's start; it is one shape among many."""
    filled(tmp_path, 3).close()
    with sqlite3.connect(tmp_path / "segments" / "cache.db") as database:
        database.execute("DROP TRIGGER IF EXISTS Settings_size_update")
        database.execute("DROP TRIGGER IF EXISTS Settings_size_insert")
        database.execute("DROP TRIGGER IF EXISTS Settings_size_delete")
        database.execute("UPDATE OR REPLACE" + damage[6:] if damage.startswith("UPDATE") else damage)
    database.close()
    assert read_all(tmp_path).wrong == 0
    folder = Folder(tmp_path, LIMIT)
    folder.load()
    assert folder.write(*pair(50)) is not None
    folder.close()


def test_verify_and_purge(tmp_path: Path) -> None:
    folder = filled(tmp_path, 4)
    victim = next((tmp_path / "segments").rglob("*.val"))
    victim.write_bytes(victim.read_bytes()[:-1])
    assert len(folder.verify()) == 1
    assert folder.verify() == []
    assert folder.purge("another model") == 0
    assert folder.purge() == 3
    assert list((tmp_path / "segments").rglob("*.val")) == []
    folder.close()


def test_killed_while_writing(tmp_path: Path) -> None:
    """A slice; `make cache-torture` runs the whole."""
    chance = random.Random(1)
    for round_ in range(4):
        kill_a_writer(tmp_path, 1_000_000 * round_, chance.uniform(0, 0.3))
        outcome = read_all(tmp_path)
        assert (outcome.wrong, outcome.damaged) == (0, 0)
        assert outcome.real <= LIMIT
    assert outcome.served > 0


def test_bit_flips_and_truncations_are_never_served(tmp_path: Path) -> None:
    chance = random.Random(2)
    for round_ in range(40):
        if round_ % 10 == 0:
            filled(tmp_path, 12).close()
        done = damage(tmp_path, chance)
        assert read_all(tmp_path).wrong == 0, done
