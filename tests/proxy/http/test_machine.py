"""What a server tells about its place: addresses that are open to others, sizes beyond the machine."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from engine.logs import PatientHandler
from engine.memory import machine_memory
from proxy.conversation.errors import SettingsError
from proxy.conversation.verdict import GuardMode
from proxy.http import machine
from proxy.http.machine import check_machine, disk_room
from proxy.http.server import bind
from proxy.http.settings import GIB, Settings
from proxy.http.welcome import Where, own_address, welcome
from proxy.upstreams.remote.target import read_targets

PLACES = [
    (Where("127.0.0.1", 1), False, ["base_url  http://127.0.0.1:1/v1"]),
    (Where("127.0.3.4", 1), False, ["base_url  http://127.0.3.4:1/v1"]),
    (Where("::1", 1), False, ["base_url  http://[::1]:1/v1"]),
    (Where("10.1.2.3", 1), True, ["base_url  http://10.1.2.3:1/v1"]),
    (Where("fe80::1%eth0", 1), True, ["base_url  http://[fe80::1%eth0]:1/v1"]),
    (
        Where("0.0.0.0", 1, "10.1.2.3"),
        True,
        [
            "base_url  http://127.0.0.1:1/v1",
            "listening on 0.0.0.0:1, every address of this machine: for others http://10.1.2.3:1/v1",
        ],
    ),
    (
        Where("::", 1),
        True,
        ["base_url  http://[::1]:1/v1", "listening on [::]:1, every address of this machine"],
    ),
]


@pytest.mark.parametrize(("where", "is_open", "lines"), PLACES, ids=lambda value: str(value)[:30])
def test_where_it_listens(where: Where, is_open: bool, lines: list[str]) -> None:
    assert where.is_open is is_open
    text = welcome(where, "m", GuardMode.full, False)
    assert [line.strip() for line in text.splitlines()[1 : 1 + len(lines)]] == lines


def test_where_a_socket_listens() -> None:
    with bind("localhost", 0) as listener:
        assert Where.of(listener) == Where(listener.getsockname()[0], listener.getsockname()[1])
    with bind("0.0.0.0", 0) as listener:
        assert Where.of(listener).outside == own_address(socket.AF_INET)


def test_more_memory_than_there_is() -> None:
    check_machine(Settings(cache_dir="off", cache_ram_gb=machine_memory() / GIB))
    with pytest.raises(SettingsError, match=r"^cache_ram_gb: this machine has [\d.]+ GB of memory, got 9"):
        check_machine(Settings(cache_dir="off", cache_ram_gb=9e5))
    check_machine(Settings(upstream=read_targets(["http://127.0.0.1:1/v1"]), cache_ram_gb=9e5))


def test_more_disk_than_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "not" / "yet"
    assert disk_room(place) == disk_room(tmp_path)
    check_machine(Settings(cache_dir=str(place), cache_disk_gb=1, ledger=place / "ledger"))
    assert caplog.text == ""
    check_machine(Settings(cache_dir=str(place), cache_disk_gb=1e6, ledger=place / "ledger", ledger_mb=10**9))
    assert [record.message.split(" holds")[0] for record in caplog.records] == [
        f"cache_disk_gb: 1e+06 GB are allowed, but the disk of {place}",
        f"ledger_mb: 9.766e+05 GB are allowed, but the disk of {place}",
    ]
    caplog.clear()
    monkeypatch.setattr(machine, "disk_room", lambda place: None)
    check_machine(Settings(cache_dir=str(place), cache_disk_gb=1e6))
    assert caplog.text == "", "nothing is known of it"


def test_log_lines_have_dates_and_none_waits(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        handler = PatientHandler(stream)
        handler.setFormatter(logging.Formatter("%(message)s"))
        for text in ("first", "half \ud800", "last"):
            handler.emit(logging.LogRecord("n", logging.INFO, "", 0, text, (), None))
        handler.flush()
        assert (tmp_path / "log").read_text() == "first\nhalf \\ud800\nlast\n"
        stream.close()
        handler.emit(logging.LogRecord("n", logging.INFO, "", 0, "nobody reads", (), None))
        handler.flush()
