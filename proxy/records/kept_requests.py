"""The bodies of requests in a ledger, as clients sent them, for `fortieth ab --from-ledger`."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

# `record` is the row of the request's record, which is written when the request has ended. `bodies` was made
# by a version that knew a request by its x-request-id, which many requests may share.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept_requests (
    key TEXT PRIMARY KEY,
    record INTEGER,
    at REAL NOT NULL,
    path TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS kept_requests_by_record ON kept_requests (record);
DROP TABLE IF EXISTS bodies;
"""
_JOINED = """
SELECT k.key, k.path, k.body, r.request_id, r.session, r.verdict, r.record
FROM kept_requests k JOIN requests r ON r.id = k.record ORDER BY r.id
"""
# A request with several answers has a record for each; the body goes with the first of them.
_LINK = "UPDATE kept_requests SET record = ? WHERE key = ? AND record IS NULL"
_TRIM = """
DELETE FROM kept_requests WHERE record < (SELECT MIN(id) FROM requests)
OR (record IS NULL AND at < (SELECT at FROM requests ORDER BY id LIMIT 1))
"""


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """A request as a client sent it.

    key: its own, unlike that of any other request.
    path: as it is routed.
    body: out of its content encodings.
    """

    key: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """A kept request beside what the ledger says of it. record: of the ledger, as JSON text."""

    request: KeptRequest
    request_id: str
    session: str
    verdict: str
    record: str


def insert_requests(connection: sqlite3.Connection, kept: Sequence[tuple[float, KeptRequest]]) -> None:
    """Adds them with their times, seconds since the epoch, and makes their table where there is none."""
    if not kept:
        return
    connection.executescript(_SCHEMA)
    rows = [(one.key, at, one.path, zlib.compress(one.body, 1)) for at, one in kept]
    with connection:
        connection.executemany("INSERT INTO kept_requests (key, at, path, body) VALUES (?, ?, ?, ?)", rows)


def link_request(connection: sqlite3.Connection, key: str, record: int) -> None:
    """Notes the row of the record of a kept request. Does nothing where the body was lost."""
    if _has_table(connection):
        connection.execute(_LINK, (record, key))


def trim_requests(connection: sqlite3.Connection) -> None:
    """Deletes those whose records were deleted, and those without one that came before the oldest record."""
    if _has_table(connection):
        connection.execute(_TRIM)


def read_requests(path: Path) -> Iterator[RecordedEntry]:
    """The kept requests that have ended, in the order in which they did.

    Raises sqlite3.Error and OSError, and ValueError for a damaged body.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no ledger")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        if not _has_table(connection):
            return
        for key, route, body, *about in connection.execute(_JOINED):
            try:
                plain = zlib.decompress(body)
            except zlib.error as error:
                raise ValueError(f"the body of request {about[0]} is damaged: {error}") from error
            yield RecordedEntry(KeptRequest(key, route, plain), *about)


def _has_table(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept_requests'").fetchone()
    return found is not None
