"""`fortieth cache` over a folder that a server left."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from engine.cache.disk import Folder
from engine.cache.paths import cache_folder
from proxy.cli.main import cli
from tests.bench.torture import LIMIT, segment
from tests.engine.cache.folders import NOT_OURS, state


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three segments of one model and one of another."""
    folder = Folder(tmp_path / "cache", LIMIT)
    folder.load()
    for number in range(4):
        record, data = segment(number)
        if number == 3:
            record = msgspec.structs.replace(record, fingerprint="another", model="other")
        assert folder.write(record, (data,)) is not None
    folder.close()
    return tmp_path / "cache"


def run(place: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["cache", *arguments, "--cache-dir", str(place)])
    return result.exit_code, result.output


def test_ls_and_stats(place: Path) -> None:
    code, text = run(place, "ls")
    assert code == 0
    first, second = text.splitlines()
    assert first.startswith("another")
    assert " 3 segments" in second
    code, text = run(place, "stats")
    assert code == 0
    assert "4 of 2 models" in text


def test_verify_tells_damage_and_leaves_it_to_the_server(place: Path) -> None:
    assert run(place, "verify") == (0, "4 segments read, 0 damaged\n")
    changed, lost, *_ = place.rglob("*.val")
    changed.write_bytes(changed.read_bytes()[1:] + b"x")
    lost.unlink()
    assert run(place, "verify") == (1, "4 segments read, 2 damaged\n")
    assert run(place, "verify") == (1, "4 segments read, 2 damaged\n")


def test_what_a_server_evicts_meanwhile_is_no_damage(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Folder(place, LIMIT)
    names = [record.name for record in server.load()]
    verify = Folder.verify

    def evict_first(folder: Folder) -> list[bytes]:
        server.remove(names[0])
        return verify(folder)

    monkeypatch.setattr(Folder, "verify", evict_first)
    assert run(place, "verify") == (0, "3 segments read, 0 damaged, 1 removed by a server meanwhile\n")
    server.close()


def test_purge(place: Path) -> None:
    assert run(place, "purge")[0] == 2
    assert run(place, "purge", "--model", "anoth") == (0, "1 segments of 1 models removed\n")
    assert run(place, "purge", "--all") == (0, "3 segments of 1 models removed\n")
    assert run(place, "ls") == (0, "")


def test_while_a_server_writes_nothing_is_removed(place: Path) -> None:
    server = Folder(place, LIMIT)
    assert run(place, "ls")[0] == 0
    assert "3 segments" in run(place, "ls")[1]
    code, text = run(place, "purge", "--all")
    assert code == 1
    assert "cannot be changed now" in text
    server.close()


def test_no_cache_is_said(tmp_path: Path) -> None:
    code, text = run(tmp_path / "nothing", "stats")
    assert code == 1
    assert "there is no cache" in text
    assert not (tmp_path / "nothing").exists()


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fortieth" / "prefix"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder().parts[-4:] == ("Library", "Caches", "fortieth", "prefix")


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_folder_that_is_not_ours_is_refused_by_serve_and_every_command(name: str, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    NOT_OURS[name](path)
    before = state(tmp_path)
    for command in (["ls"], ["stats"], ["verify"], ["purge", "--all"], ["purge", "--model", "f"]):
        code, text = run(path, *command)
        assert (code, text.startswith("fortieth: "), text.count("Traceback")) == (1, True, 0)
    result = CliRunner().invoke(cli, ["serve", "--port", "0", "--ledger", "off", "--cache-dir", str(path)])
    assert result.exit_code == 1
    assert result.output.startswith("fortieth: the folder for the cache, "), result.output
    assert state(tmp_path) == before
