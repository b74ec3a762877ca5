"""Settings put into files that may hold a user's own: merged, backed up, and written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.cli.connections.base import ConfigFile, FileFormat

BEGIN = "# BEGIN fortieth: what stands between these two lines is replaced by `fortieth connect --write`"
END = "# END fortieth"


class UnusableFile(Exception):
    """A file that is there and cannot be added to; the message is for the user."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """changed: False where the file had these settings already. backup: of what was there; None for a new
    file and for an unchanged one.
    """

    path: Path
    changed: bool
    backup: Path | None = None


def write_files(files: Iterable[ConfigFile], home: Path, environment: Mapping[str, str]) -> list[WrittenFile]:
    """Merges each into what is there. Nothing is written if one of them is unusable.

    Raises UnusableFile, and OSError of the file system.
    """
    planned = []
    for file in files:
        # a link to a file elsewhere stays one
        path = file.path(home, environment).resolve()
        before = _read(path)
        planned.append((path, before, merged(before, file, path)))
    return [_write(path, before, after) for path, before, after in planned]


def merged(before: str | None, file: ConfigFile, path: Path) -> str:
    """The text of the file with the settings in it. before: None for no file. Raises UnusableFile."""
    content = file.content
    match file.format:
        case FileFormat.json:
            assert not isinstance(content, str)
            return _merged_json(before, content, path)
        case FileFormat.toml:
            assert isinstance(content, str)
            return _merged_toml(before, content, path)
        case FileFormat.whole:
            assert isinstance(content, str)
            return content


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path} is not UTF-8: byte {error.start}; nothing was written") from None


def _merged_json(before: str | None, content: Mapping[str, Any], path: Path) -> str:
    try:
        there = json.loads(before) if before and before.strip() else {}
    except (ValueError, RecursionError) as error:
        why = f"{path} is no plain JSON ({error}); nothing was written: add the settings by hand"
        raise UnusableFile(why) from None
    together = _together(there, content, path, "")
    if before is not None and together == there:
        return before
    return json.dumps(together, ensure_ascii=False, indent=2) + "\n"


def _together(there: Any, content: Mapping[str, Any], path: Path, where: str) -> dict[str, Any]:
    """Objects key by key; any other value of ours replaces what stood in its place."""
    if not isinstance(there, dict):
        place = f"its {where}" if where else "it"
        raise UnusableFile(f"{path}: {place} must be an object, got {there!r:.40}; nothing was written")
    found = dict(there)
    for name, value in content.items():
        below = f"{where}.{name}" if where else name
        nested = isinstance(value, Mapping)
        found[name] = _together(there.get(name, {}), value, path, below) if nested else value
    return found


def _merged_toml(before: str | None, content: str, path: Path) -> str:
    """Tables at the end, since a key after a table's head would be that table's."""
    before = before or ""
    _parsed(before, path, "is no TOML")
    rest = _without_ours(before, path)
    block = f"{BEGIN}\n{content.rstrip()}\n{END}\n"
    gap = "" if not rest else "\n" if rest.endswith("\n") else "\n\n"
    after = before if block in before else f"{rest}{gap}{block}"
    _parsed(after, path, "cannot take the settings, parts of which it has outside of our lines")
    return after


def _without_ours(text: str, path: Path) -> str:
    """The text without what an earlier call wrote."""
    lines = text.splitlines(keepends=True)
    bare = [line.rstrip() for line in lines]
    ends = (bare.count(BEGIN), bare.count(END))
    if ends == (0, 0):
        return text
    if ends != (1, 1) or bare.index(END) < bare.index(BEGIN):
        why = f"{path} has `{BEGIN[:16]}` or `{END}` without the other; nothing was written"
        raise UnusableFile(why)
    kept = "".join(lines[: bare.index(BEGIN)] + lines[bare.index(END) + 1 :])
    return kept.rstrip("\n") + "\n" if kept.strip() else ""


def _parsed(text: str, path: Path, what: str) -> None:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableFile(f"{path} {what} ({error}); nothing was written") from None


def _write(path: Path, before: str | None, after: str) -> WrittenFile:
    if before == after:
        return WrittenFile(path, False)
    path.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    if before is not None:
        backup = path.with_name(f"{path.name}.bak-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        _put(backup, path.read_bytes(), path.stat().st_mode & 0o777)
    # a new file is for its owner alone, since it may hold a key
    _put(path, after.encode(), path.stat().st_mode & 0o777 if before is not None else 0o600)
    return WrittenFile(path, True, backup)


def _put(path: Path, content: bytes, mode: int) -> None:
    """At once: a reader finds the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
