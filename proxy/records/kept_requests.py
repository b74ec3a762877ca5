"""The bodies of requests in a ledger, as clients sent them, for `fortieth ab --from-ledger`."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bodies (
    at REAL NOT NULL,
    request_id TEXT NOT NULL,
    path TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS bodies_by_at ON bodies (at);
CREATE INDEX IF NOT EXISTS bodies_by_request_id ON bodies (request_id);
"""
_JOINED = """
SELECT b.request_id, b.path, b.body, r.session, r.verdict, r.record
FROM bodies b JOIN requests r ON r.request_id = b.request_id ORDER BY r.id
"""


_TRIM = """
DELETE FROM bodies WHERE at < (SELECT MIN(at) FROM requests)
AND NOT EXISTS (SELECT 1 FROM requests WHERE requests.request_id = bodies.request_id)
"""


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """A request as a client sent it. path: as it is routed. body: out of its content encodings."""

    request_id: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """A kept request beside what the ledger says of it. record: of the ledger, as JSON text."""

    request: KeptRequest
    session: str
    verdict: str
    record: str


def insert_requests(connection: sqlite3.Connection, kept: Sequence[tuple[float, KeptRequest]]) -> None:
    """Adds them with their times, seconds since the epoch, and makes their table where there is none."""
    if not kept:
        return
    connection.executescript(_SCHEMA)
    rows = [(at, one.request_id, one.path, zlib.compress(one.body, 1)) for at, one in kept]
    with connection:
        connection.executemany("INSERT INTO bodies VALUES (?, ?, ?, ?)", rows)


def trim_requests(connection: sqlite3.Connection) -> None:
    """Deletes those that came before the oldest record and have no record themselves."""
    if _has_table(connection):
        connection.execute(_TRIM)


def read_requests(path: Path) -> Iterator[RecordedEntry]:
    """The kept requests that have ended, in the order in which they did. Raises sqlite3.Error, OSError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no ledger")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        if not _has_table(connection):
            return
        for request_id, route, body, session, verdict, record in connection.execute(_JOINED):
            kept = KeptRequest(request_id, route, zlib.decompress(body))
            yield RecordedEntry(kept, session, verdict, record)


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'bodies'").fetchone() is not None
