"""The ledger: each request's account as a row of a SQLite file, bounded, written off the hot path.

The event loop only puts accounts into a bounded queue; one thread writes them in batches. What does not fit
is dropped and counted: a full disk may not stop an agent.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy.account import Account
from proxy.errors import StartError

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    request_id TEXT NOT NULL,
    model TEXT NOT NULL,
    session TEXT NOT NULL,
    verdict TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_by_request_id ON requests (request_id);
"""
_INSERT = "INSERT INTO requests (at, request_id, model, session, verdict, record) VALUES (?, ?, ?, ?, ?, ?)"
_VERSION = 1
_BATCH = 256
# Of each text in a record; fixes and problems may quote whole arguments.
_MAX_CHARS = 2000
_REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """rows, bytes: the oldest rows go when there are more. queued: accounts that may wait to be written.
    redact: leaves out values of calls, which fixes, problems and errors quote.
    """

    rows: int = 100_000
    bytes: int = 256 * 1024 * 1024
    queued: int = 4096
    redact: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A row. at: seconds since the epoch. record: the account as JSON."""

    id: int
    at: float
    request_id: str
    model: str
    session: str
    verdict: str
    record: dict[str, Any]


def to_record(account: Account, redact: bool) -> dict[str, Any]:
    """The account as JSON values. redact: what the model or a client wrote is left out; kinds, rules and
    paths stay.
    """
    record: dict[str, Any] = asdict(account)
    quoting = [record, *record["attempts"]]
    for place in quoting:
        for fix in place["fixes"]:
            fix["before"], fix["after"] = _shown(fix["before"], redact), _shown(fix["after"], redact)
        for problem in place["problems"]:
            problem["message"] = _shown(problem["message"], redact)
        place["error"] = _shown(place["error"], redact)
    return record


def _shown(text: str, redact: bool) -> str:
    if redact:
        return _REDACTED if text else ""
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + " …"


class Ledger:
    """A Sink that writes. open() makes one, close() writes what waits."""

    def __init__(self, path: Path, limits: LedgerLimits, clock: Callable[[], float]) -> None:
        self.path = path
        self._limits = limits
        self._clock = clock
        self._queue: queue.Queue[tuple[float, Account] | None] = queue.Queue(limits.queued)
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)

    @classmethod
    def open(
        cls, path: Path, limits: LedgerLimits | None = None, clock: Callable[[], float] = time.time
    ) -> Ledger:
        """Makes the file where there is none. Raises StartError."""
        ledger = cls(path, limits or LedgerLimits(), clock)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(path)) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, _VERSION):
                    raise StartError(f"{path}: a ledger of version {version}, this one writes {_VERSION}")
                connection.executescript(_SCHEMA + f"PRAGMA user_version = {_VERSION};")
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"{path}: cannot be used as a ledger: {error}") from error
        ledger._thread.start()
        return ledger

    @property
    def dropped(self) -> int:
        """Accounts that were not kept: the queue was full or the file could not be written."""
        return self._dropped

    def record(self, account: Account) -> None:
        try:
            self._queue.put_nowait((self._clock(), account))
        except queue.Full:
            self._drop(1)

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count

    def close(self) -> None:
        """Writes what waits; gives up after some seconds."""
        self._queue.put(None)
        self._thread.join(10)

    def flush(self) -> None:
        """Returns when what was recorded until now is in the file, or was dropped."""
        self._queue.join()

    def _write_all(self) -> None:
        while True:
            batch, last = self._take()
            try:
                self._write(batch)
            except (OSError, sqlite3.Error) as error:
                self._drop(len(batch))
                _log.warning("%s: %d requests were not written: %s", self.path, len(batch), error)
            for _ in range(len(batch) + last):
                self._queue.task_done()
            if last:
                return

    def _take(self) -> tuple[list[tuple[float, Account]], bool]:
        """What waits, at least one; and whether the end has come."""
        batch: list[tuple[float, Account]] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == _BATCH or self._queue.empty():
                return batch, False
            item = self._queue.get()
        return batch, True

    def _write(self, batch: Sequence[tuple[float, Account]]) -> None:
        rows = [_row(at, account, self._limits.redact) for at, account in batch]
        with closing(_connect(self.path)) as connection:
            with connection:
                connection.executemany(_INSERT, rows)
                _trim(connection, self._limits)
            connection.executescript("PRAGMA incremental_vacuum;")  # execute() frees a single page


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _row(at: float, account: Account, redact: bool) -> tuple[object, ...]:
    text = json.dumps(to_record(account, redact), ensure_ascii=False).encode("utf-8", "replace").decode()
    return at, account.request_id, account.model, account.session, account.verdict.value, text


def _trim(connection: sqlite3.Connection, limits: LedgerLimits) -> None:
    """Deletes the oldest rows beyond the limits; by bytes a tenth more, so as not to do it at each write."""
    newest = connection.execute("SELECT MAX(id) FROM requests").fetchone()[0] or 0
    connection.execute("DELETE FROM requests WHERE id <= ?", (newest - limits.rows,))
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    used = page * (pages - free)
    if used > limits.bytes:
        rows = connection.execute("SELECT COUNT(*) FROM requests").fetchone()[0]
        kept = int(rows * 0.9 * limits.bytes / used)
        connection.execute("DELETE FROM requests WHERE id <= ?", (newest - kept,))


def read_entries(
    path: Path,
    *,
    limit: int | None = None,
    after: int = 0,
    oldest_first: bool = False,
    model: str = "",
    session: str = "",
    verdict: str = "",
) -> Iterator[Entry]:
    """Newest first; with `after`, those with a greater id, oldest first. Raises sqlite3.Error, OSError."""
    named = {"model": model, "session": session, "verdict": verdict}
    where = ["id > :after", *(f"{name} = :{name}" for name, value in named.items() if value)]
    order = "ASC" if after or oldest_first else "DESC"
    query = f"SELECT * FROM requests WHERE {' AND '.join(where)} ORDER BY id {order} LIMIT :limit"
    values = {"after": after, "limit": -1 if limit is None else limit, **named}
    with closing(_open_to_read(path)) as connection:
        for row in connection.execute(query, values):
            yield _entry(row)


def find_entry(path: Path, id: str) -> Entry | None:
    """By the ledger's number or by the newest request of that id. Raises sqlite3.Error, OSError."""
    number = int(id) if id.isascii() and id.isdigit() and len(id) < 18 else -1
    query = "SELECT * FROM requests WHERE request_id = ? OR id = ? ORDER BY id DESC LIMIT 1"
    with closing(_open_to_read(path)) as connection:
        row = connection.execute(query, (id, number)).fetchone()
    return None if row is None else _entry(row)


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no ledger")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def _entry(row: tuple[Any, ...]) -> Entry:
    id, at, request_id, model, session, verdict, record = row
    return Entry(id, at, request_id, model, session, verdict, json.loads(record))
