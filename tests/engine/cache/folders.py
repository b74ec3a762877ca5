"""Folders that are not ours, each as somebody might have it, and how to tell that nothing in them changed."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import diskcache
import msgspec

from engine.cache.blobs import open_items
from engine.cache.disk import Folder
from engine.cache.ownership import LOCK, MARKER, SEGMENTS, TEXT
from engine.cache.record import encode_record
from tests.bench.torture import LIMIT, segment

OURS = "ab/cd/0123456789abcdef0123456789ab.val"  # a name of our pattern
Make = Callable[[Path], None]


def state(root: Path) -> dict[str, object]:
    """Everything below a folder, links not followed: kind, times, modes, contents."""
    found: dict[str, object] = {}
    for path in [root, *root.rglob("*")]:
        about = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (about.st_mode, about.st_mtime_ns, about.st_ino, content)
    return found


def put(path: Path, *names: str, data: bytes = b"a user's own") -> None:
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def other_database(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
        database.execute("INSERT INTO songs VALUES ('one')")
        database.commit()


def other_diskcache(path: Path) -> None:
    with diskcache.Cache(str(path / SEGMENTS)) as items:
        items.set("key", b"value" * 20_000)
    put(path, LOCK, data=b"")


def cache(path: Path, count: int = 3) -> None:
    """One of ours."""
    folder = Folder(path, LIMIT)
    folder.load()
    for number in range(count):
        record, data = segment(number)
        assert folder.write(record, (data,)) is not None
    folder.close()


def earlier(path: Path, count: int = 3) -> None:
    """As versions without a marker left it."""
    cache(path, count)
    (path / MARKER).unlink()


def marked(path: Path) -> None:
    put(path, MARKER, data=TEXT)


def linked(path: Path, name: str, make: Make) -> None:
    """Ours but for a link to something of the user's."""
    marked(path)
    target = path.parent / "elsewhere"
    make(target)
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).symlink_to(target)


def beside(path: Path, make: Make) -> None:
    """The path is a link to a folder of the user's."""
    make(path.parent / "target")
    path.symlink_to(path.parent / "target")


def with_socket(path: Path) -> None:
    path.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/s" if os.path.exists("/proc/self/fd") else str(path / "s"))
        os.close(here)


def damaged(path: Path) -> None:
    earlier(path)
    (path / SEGMENTS / "cache.db").write_bytes(b"no database" * 999)


def all_of(*makes: Make) -> Make:
    def make(path: Path) -> None:
        for one in makes:
            one(path)

    return make


def files(*names: str, data: bytes = b"a user's own") -> Make:
    return lambda path: put(path, *names, data=data)


def link(name: str, target: str) -> Make:
    return lambda path: (path / name).symlink_to(target)


NOT_OURS: dict[str, Make] = {
    "text": files("notes.txt"),
    "hidden": files(".DS_Store"),
    "odd names": files("-rf", " ", "a\nb", "ünï", "*", "$HOME", "%s"),
    "segments of a recording": files("segments/1.wav", "segments/notes.txt"),
    "a file of our pattern": files(f"segments/{OURS}"),
    "segments, lock": files("lock", "segments/cache.db", data=b""),
    "a full lock": all_of(earlier, files("lock")),
    "empty folders": lambda path: (path / "segments" / "ab").mkdir(parents=True),
    "a database": lambda path: other_database(path / "cache.db"),
    "a database in segments": lambda path: other_database(path / SEGMENTS / "cache.db"),
    "another diskcache": other_diskcache,
    "our marker's name": files(MARKER),
    "an empty marker": files(MARKER, data=b""),
    "the marker in capitals": files(MARKER.upper(), data=TEXT),
    "the marker is a folder": files(f"{MARKER}/x"),
    "the marker is a link": all_of(lambda path: marked(path / "in"), link(MARKER, f"in/{MARKER}")),
    "a cache in a folder": all_of(files("x"), lambda path: cache(path / "fortieth")),
    "a link to a folder": lambda path: beside(path, files("x")),
    "a link to a file": lambda path: beside(path, lambda target: put(target.parent, "target")),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "links": all_of(files("x"), link("y", "x"), link("z", "..")),
    "a file": lambda path: put(path.parent, path.name),
    "a socket": with_socket,
    "a volume": lambda path: (path / "lost+found").mkdir(parents=True),
    "ours, segments a link": lambda path: linked(path, SEGMENTS, files(OURS, "1.wav")),
    "ours, the database a link": lambda path: linked(path, f"{SEGMENTS}/cache.db", other_database),
    "ours, the lock a link": lambda path: linked(path, LOCK, lambda target: put(target.parent, target.name)),
    "ours, another's database": all_of(marked, lambda path: other_database(path / SEGMENTS / "cache.db")),
    "earlier, beside a file": all_of(earlier, files("x")),
    "earlier, a file in segments": all_of(earlier, files("segments/1.wav")),
    "earlier, a file among ours": all_of(earlier, files("segments/ab/cd/x.val")),
    "earlier, damaged": damaged,
}


def removed(path: Path) -> None:
    shutil.rmtree(path)


def replaced(path: Path) -> None:
    path.rename(path.with_name("old"))
    cache(path, 2)


def replaced_by_an_empty_one(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.mkdir()


def emptied(path: Path) -> None:
    for one in path.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()


GONE: dict[str, Callable[[Path], None]] = {
    "removed": removed,
    "replaced by another of ours": replaced,
    "replaced by an empty one": replaced_by_an_empty_one,
    "emptied": emptied,
    "without its segments": lambda path: shutil.rmtree(path / SEGMENTS),
    "without its database": lambda path: (path / SEGMENTS / "cache.db").unlink(),
    "without its lock": lambda path: (path / LOCK).unlink(),
    "without its marker": lambda path: (path / MARKER).unlink(),
}


def other_version(path: Path) -> None:
    """A cache of another format, with our marker."""
    cache(path, 1)
    items = open_items(path / SEGMENTS, LIMIT)
    record, data = segment(1)
    items.set(b"t" + record.name, data)
    items.set(b"m" + record.name, encode_record(msgspec.structs.replace(record, format=99)))
    items.close()
