"""A user's own file keeps all that it had, gets the settings once, and is never left half written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.connections.base import ConfigFile, FileFormat
from proxy.cli.connections.config_files import BEGIN, END, UnusableFile, merged, write_files

SETTINGS = {"provider": {"fortieth": {"url": "http://a", "models": [{"id": "m"}]}}}
JSON = ConfigFile(".app", "settings.json", FileFormat.json, SETTINGS)
TABLES = '[providers.fortieth]\nurl = "http://a"\n'
TOML = ConfigFile(".app", "settings.toml", FileFormat.toml, TABLES)
WHOLE = ConfigFile(".app", "fortieth.yaml", FileFormat.whole, "url: a\n")
PATH = Path("settings")

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, SETTINGS),
        ("", SETTINGS),
        (" \n", SETTINGS),
        ("{}", SETTINGS),
        ('{"theme": "é"}', {"theme": "é", **SETTINGS}),
        ('{"provider": {"other": 1}}', {"provider": {"other": 1, **SETTINGS["provider"]}}),
        ('{"provider": {"fortieth": {"url": 5, "own": 1}}}', {"url": "http://a", "own": 1}),
    ],
    ids=["new", "empty", "blank", "object", "other_key", "other_provider", "older_settings"],
)
def test_json_is_merged_key_by_key(before: str | None, after: dict[str, Any]) -> None:
    text = merged(before, JSON, PATH)
    found = json.loads(text)
    if "own" in after:
        assert found["provider"]["fortieth"] == {**SETTINGS["provider"]["fortieth"], **after}
    else:
        assert found == after
        assert list(found) == list(after)
    assert "\\u" not in text
    assert merged(text, JSON, PATH) == text


@given(st.dictionaries(st.text().filter(lambda name: name != "provider"), _json))
def test_all_else_in_a_json_file_stays(there: dict[str, Any]) -> None:
    text = merged(json.dumps(there), JSON, PATH)
    assert json.loads(text) == {**there, **SETTINGS}
    assert merged(text, JSON, PATH) == text


def test_settings_that_are_there_leave_the_text_as_it_is() -> None:
    text = '{"own":1,\t"provider":  ' + json.dumps(SETTINGS["provider"]) + "}"
    assert merged(text, JSON, PATH) == text


OWN_TOML = '# mine\nmodel = "o" # this too\n\n[providers.other]\nurl = "b"\n'


@pytest.mark.parametrize("before", [None, "", OWN_TOML, OWN_TOML.rstrip(), OWN_TOML.replace("\n", "\r\n")])
def test_tables_are_put_at_the_end_of_toml(before: str | None) -> None:
    text = merged(before, TOML, PATH)
    assert text.startswith(before or BEGIN)
    assert tomllib.loads(text)["providers"]["fortieth"] == {"url": "http://a"}
    assert merged(text, TOML, PATH) == text


def test_tables_of_an_earlier_call_are_replaced() -> None:
    old = merged(OWN_TOML, TOML, PATH)
    later = f"{old}\n[mine]\nx = 1\n"
    new = ConfigFile(".app", "settings.toml", FileFormat.toml, TABLES.replace("//a", "//c"))
    text = merged(later, new, PATH)
    assert tomllib.loads(text) == {
        "model": "o",
        "providers": {"other": {"url": "b"}, "fortieth": {"url": "http://c"}},
        "mine": {"x": 1},
    }
    assert (text.count(BEGIN), text.count(END), text.count("# mine")) == (1, 1, 1)
    assert merged(text, new, PATH) == text


UNUSABLE = {
    "json_with_comments": (JSON, "// mine\n{}", "no plain JSON"),
    "broken_json": (JSON, '{"a": ', "no plain JSON"),
    "deep_json": (JSON, "[" * 100_000, "no plain JSON"),
    "json_list": (JSON, "[1]", "it must be an object"),
    "json_provider_a_list": (JSON, '{"provider": []}', "its provider must be an object"),
    "json_null": (JSON, '{"provider": {"fortieth": null}}', "its provider.fortieth must be an object"),
    "broken_toml": (TOML, "a = ", "is no TOML"),
    "toml_has_the_table": (TOML, TABLES, "outside of our lines"),
    "toml_has_it_inline": (TOML, "providers = {}", "outside of our lines"),
    "half_of_our_lines": (TOML, f"{BEGIN}\n{TABLES}", "without the other"),
    "our_lines_turned_round": (TOML, f"{END}\n{BEGIN}\n", "without the other"),
    "not_utf8": (JSON, b'{"a": "\xff"}', "is not UTF-8: byte 7"),
}


@pytest.mark.parametrize(("file", "before", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_is_refused_and_left(
    file: ConfigFile, before: str | bytes, why: str, tmp_path: Path
) -> None:
    path = file.path(tmp_path, {})
    path.parent.mkdir()
    path.write_bytes(before if isinstance(before, bytes) else before.encode())
    left = path.read_bytes()
    # the first of the two could be written, and is not
    with pytest.raises(UnusableFile, match=why) as raised:
        write_files([WHOLE, file], tmp_path, {})
    assert "nothing was written" in str(raised.value)
    assert str(path) in str(raised.value)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == left


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    written = write_files([JSON, TOML, WHOLE], tmp_path, {})
    assert [(one.changed, one.backup) for one in written] == [(True, None)] * 3
    assert [one.path.stat().st_mode & 0o777 for one in written] == [0o600] * 3
    again = write_files([JSON, TOML, WHOLE], tmp_path, {})
    assert [(one.changed, one.backup) for one in again] == [(False, None)] * 3
    assert len(list((tmp_path / ".app").iterdir())) == 3


def test_what_was_there_is_kept_beside_it(tmp_path: Path) -> None:
    path = JSON.path(tmp_path, {})
    path.parent.mkdir()
    path.write_text('{"own": 1}')
    path.chmod(0o640)
    (written,) = write_files([JSON], tmp_path, {})
    assert written.backup is not None
    assert written.backup.name.startswith("settings.json.bak-")
    assert written.backup.read_text() == '{"own": 1}'
    assert [one.stat().st_mode & 0o777 for one in (path, written.backup)] == [0o640] * 2
    assert json.loads(path.read_text()) == {"own": 1, **SETTINGS}


def test_a_link_stays_one(tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles.json"
    elsewhere.write_text('{"own": 1}')
    path = JSON.path(tmp_path, {})
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    write_files([JSON], tmp_path, {})
    assert path.is_symlink()
    assert json.loads(elsewhere.read_text()) == {"own": 1, **SETTINGS}


def test_a_folder_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = ConfigFile(".app", "a.json", FileFormat.json, SETTINGS, "APP_HOME")
    assert file.path(tmp_path, {}) == tmp_path / ".app/a.json"
    assert file.path(tmp_path, {"APP_HOME": ""}) == tmp_path / ".app/a.json"
    assert file.path(tmp_path, {"APP_HOME": "/elsewhere"}) == Path("/elsewhere/a.json")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = JSON.path(tmp_path, {})
    path.parent.mkdir()
    path.write_text("{}")

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_files([JSON], tmp_path, {})
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "{}"
