"""The ledger's file: who may read it, and what becomes of it when somebody moves, deletes or blocks it."""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from proxy.cli.ledger import tail
from proxy.conversation.errors import StartError
from proxy.records.ledger import Ledger, read_entries
from tests.proxy.records.test_ledger import ACCOUNT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "ledger.sqlite"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    opened = Ledger.open(file)
    yield opened
    opened.close()


def keep(ledger: Ledger, *ids: str) -> None:
    for id in ids:
        ledger.record(replace(ACCOUNT, request_id=id))
        ledger.flush()


def rows(file: Path) -> list[tuple[int, str]]:
    return [(entry.id, entry.request_id) for entry in read_entries(file, oldest_first=True)]


def rotate(file: Path) -> None:
    file.rename(file.with_suffix(".1"))


def rotate_all(file: Path) -> None:
    for one in list(file.parent.iterdir()):
        one.rename(one.with_name(f"old-{one.name}"))


def empty(file: Path) -> None:
    """As `copytruncate` does."""
    os.truncate(file, 0)


def drop_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("DROP TABLE requests")


def remove_folder(file: Path) -> None:
    for one in file.parent.iterdir():
        one.unlink()
    file.parent.rmdir()


GONE: tuple[Callable[[Path], None], ...] = (
    rotate,
    rotate_all,
    Path.unlink,
    empty,
    drop_table,
    remove_folder,
)


@pytest.mark.parametrize("lose", GONE, ids=lambda lose: lose.__name__)
def test_a_file_that_is_gone_is_made_again(
    ledger: Ledger, file: Path, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    keep(ledger, "a", "b")
    lose(file)
    keep(ledger, "c", "d")
    assert rows(file) == [(3, "c"), (4, "d")], "and its numbers go on"
    assert ledger.dropped == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{file} was moved or deleted" in caplog.text


def test_a_reader_holds_the_old_file(ledger: Ledger, file: Path) -> None:
    keep(ledger, "a")
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("SELECT * FROM requests").fetchall()
        keep(ledger, "b")  # its journal stays beside it, as somebody reads
        rotate(file)
        keep(ledger, "c")
    assert rows(file) == [(3, "c")]


def test_one_warning_an_outage(ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keep(ledger, "a")
    for round in (1, 2):
        caplog.clear()
        away = file.with_suffix(".away")
        file.rename(away)
        file.mkdir()
        keep(ledger, "b", "c", "d")
        assert (ledger.dropped, len(caplog.records)) == (3 * round, 1)
        assert f"{file} cannot be written" in caplog.records[0].message
        file.rmdir()
        away.rename(file)
        keep(ledger, f"e{round}")
        assert len(caplog.records) == 2
        assert "is written again, 3 requests were not kept" in caplog.records[1].message
    assert [id for _, id in rows(file)] == ["a", "e1", "e2"]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    before = os.umask(0)
    try:
        ledger = Ledger.open(file)
        with closing(sqlite3.connect(file)) as reader:
            reader.execute("SELECT * FROM requests").fetchall()
            keep(ledger, "a")
            names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        ledger.close()
    finally:
        os.umask(before)
    assert names == dict.fromkeys(("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"), 0o600)


def test_a_file_that_all_may_read_is_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    for mode, told in ((0o640, 0), (0o644, 1)):
        Ledger.open(file).close()
        file.chmod(mode)
        caplog.clear()
        Ledger.open(file).close()
        assert len(caplog.records) == told
        assert stat.S_IMODE(file.stat().st_mode) == mode, "what its owner chose stays"
    assert "chmod 600" in caplog.text


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mail.db"
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE letters (text)")
    before = file.read_bytes()
    with pytest.raises(StartError, match="letters"):
        Ledger.open(file)
    assert (file.read_bytes(), [path.name for path in tmp_path.iterdir()]) == (before, ["mail.db"])


def test_who_follows_a_ledger_follows_it_into_the_next_file(
    ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between two looks, in turn: nothing, the file goes, it comes again, the end."""
    turns = itertools.count()

    def sleep(seconds: float) -> None:
        match next(turns):
            case 1:
                rotate(file)
            case 2:
                keep(ledger, "c")
            case 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    keep(ledger, "a", "b")
    with pytest.raises(typer.Exit):
        tail(file, follow=True, lines=20, verdict=None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert all(line.split()[1].startswith("20") for line in lines), "with the day"
