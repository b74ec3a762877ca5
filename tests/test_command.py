"""The command's own start: it runs its own packages, and says where somebody else's lie in their place."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import pytest

import fortieth


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fortieth is installed, ahead of the place where it really is."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    install(tmp_path, "fortieth", {"proxy/cli.py": "ours", "proxy/__init__.py": "", "fortieth.py": ""})
    return tmp_path


def install(site: Path, name: str, files: dict[str, str]) -> None:
    """As pip does: what is there already is overwritten without a word."""
    rows = []
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}\n")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(rows))


def test_our_own_files_are_in_order(site: Path) -> None:
    install(site, "other", {"proxy_tools/cli.py": "theirs"})
    assert list(fortieth.foreign_files()) == []


def test_a_package_of_the_same_name_was_installed_later(site: Path) -> None:
    install(site, "proxy.py", {"proxy/__init__.py": "theirs", "proxy/cli.py": "theirs, longer"})
    problems = list(fortieth.foreign_files())
    assert len(problems) == 2
    assert all(
        "was overwritten by proxy.py: install fortieth again, into a virtual" in one for one in problems
    )
    assert str(site / "proxy" / "cli.py") in problems[0]


def test_a_package_of_the_same_name_was_installed_earlier(tmp_path: Path, site: Path) -> None:
    """Ours have overwritten its files."""
    install(site, "proxy.py", {"proxy/http.py": "theirs"})
    record = site / "proxy.py-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text() + "proxy/cli.py,,9\n")
    assert list(fortieth.foreign_files()) == []


def test_a_package_of_the_same_name_was_uninstalled(site: Path) -> None:
    (site / "proxy" / "cli.py").unlink()
    (problem,) = fortieth.foreign_files()
    assert problem.startswith(f"{site / 'proxy' / 'cli.py'} is missing")


def test_what_was_edited_by_hand_runs(site: Path) -> None:
    (site / "proxy" / "cli.py").write_text("print('looking for a bug')")
    assert list(fortieth.foreign_files()) == []


def test_it_says_so_in_one_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "proxy.py", {"proxy/cli.py": "theirs, longer"})
    finders = list(sys.meta_path)
    try:
        with pytest.raises(SystemExit) as ended:
            fortieth.main()
    finally:
        sys.meta_path[:] = finders
    out, said = capsys.readouterr()
    assert (ended.value.code, out, said.count("\n")) == (1, "", 1)
    assert said.startswith(f"fortieth: cannot start: {site / 'proxy' / 'cli.py'} was overwritten by proxy.py")


def test_hidden_modules(tmp_path: Path) -> None:
    (tmp_path / "dataclasses.py").touch()
    (tmp_path / "mine.py").touch()
    (tmp_path / "json").mkdir()  # no package: hides nothing
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "__init__.py").touch()
    said = fortieth.hidden_modules(f":{tmp_path}:{tmp_path / 'nowhere'}")
    assert said.endswith(
        f"hides modules of Python itself: {tmp_path / 'dataclasses.py'}, {tmp_path / 'token'}"
    )
    assert fortieth.hidden_modules("") == ""


def test_a_missing_file_is_seen_beside_other_readers_of_metadata(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some versions list only the files that are there, and a package may bring its own reader along."""
    backport = pytest.importorskip("importlib_metadata", reason="comes with LiteLLM alone")
    monkeypatch.setattr(sys, "meta_path", [backport.MetadataPathFinder(), *sys.meta_path])
    (site / "proxy" / "cli.py").unlink()
    (problem,) = fortieth.foreign_files()
    assert problem.startswith(f"{site / 'proxy' / 'cli.py'} is missing")
