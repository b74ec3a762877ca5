"""The ledger: each request's record as a row of a SQLite file of bounded size, written by its own thread.

The event loop only puts records into a bounded queue; the thread writes them in batches. What does not fit
into the queue is dropped and counted: a full disk must not stop an agent.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy.conversation.errors import StartError
from proxy.records.kept_requests import KeptRequest, insert_requests, link_request, trim_requests
from proxy.records.request_record import RequestRecord

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
# Of the limit of bytes; the rest is room for what SQLite keeps beside the file while it writes.
_FULL = 0.95
# Characters kept of each text in a record; fixes and problems may quote whole arguments.
_MAX_CHARS = 2000
# Of the text of a refused attempt, which is to be looked at as a whole.
_MAX_REFUSED = 20_000
_REDACTED = "[redacted]"
# A step of a JSON pointer that is not an array index is a key, which a model or a client chose.
_KEY = re.compile(r"(?<=/)(?!\d+(?:/|$))[^/]*")
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """Bounds of the ledger.

    rows, bytes: the oldest rows are deleted when there are more.
    queued: records that may wait to be written.
    redact: what models and clients wrote is left out, also where fixes, problems and errors quote it.
    requests: the bodies of requests are kept too.
    queued_bytes: of bodies that may wait to be written; one agent's may have megabytes.
    refused: the text of refused attempts is kept.
    """

    rows: int = 100_000
    bytes: int = 256 * 1024 * 1024
    queued: int = 4096
    redact: bool = False
    requests: bool = False
    queued_bytes: int = 64 * 1024 * 1024
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger. at: seconds since the epoch. record: the request's record as JSON."""

    id: int
    at: float
    request_id: str
    model: str
    session: str
    verdict: str
    record: dict[str, Any]


def to_record(account: RequestRecord, redact: bool, refused: bool = False) -> dict[str, Any]:
    """The record as JSON values.

    redact: leaves out what the model or a client wrote, the keys of paths too; kinds, rules and indices stay.
    refused: keeps the text of refused attempts; that of attempts which did not end is kept without it.
    """
    record: dict[str, Any] = asdict(account)
    del record["kept_as"]  # means nothing outside the file
    for place in (record, *record["attempts"]):
        for fix in place["fixes"]:
            fix["before"], fix["after"] = _shown(fix["before"], redact), _shown(fix["after"], redact)
        for problem in place["problems"]:
            problem["message"] = _shown(problem["message"], redact)
        for found in (*place["fixes"], *place["problems"]):
            found["path"] = _KEY.sub("*", found["path"]) if redact else found["path"]
        place["error"] = _shown(place["error"], redact)
    for attempt in record["attempts"]:
        ended = attempt["verdict"] is not None
        text = attempt["text"] if refused or not ended else ""
        attempt["text"] = _shown(text, redact, _MAX_REFUSED if ended else _MAX_CHARS)
        attempt["tools"] = [_shown(name, redact) for name in attempt["tools"]]
    record["warnings"] = [_shown(warning, redact) for warning in account.warnings]
    if record["cache"] is not None:
        for name in ("before", "now"):
            record["cache"][name] = _shown(record["cache"][name], redact)
    return record


def _shown(text: str, redact: bool, most: int = _MAX_CHARS) -> str:
    if redact:
        return _REDACTED if text else ""
    return text if len(text) <= most else text[:most] + " …"


class Ledger:
    """A Sink that writes records to a file. open() makes one, close() writes what waits."""

    def __init__(self, path: Path, limits: LedgerLimits, clock: Callable[[], float]) -> None:
        self.path = path
        self._limits = limits
        self._clock = clock
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(limits.queued)
        self._waiting = 0  # bytes of bodies in the queue, and in the batch that is being written
        self._dropped = 0
        self._newest = 0  # row numbers continue in a new file
        self._outage = 0  # records lost since the file could last be written
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)

    @classmethod
    def open(
        cls, path: Path, limits: LedgerLimits | None = None, clock: Callable[[], float] = time.time
    ) -> Ledger:
        """Makes the file where there is none; only its owner may read it. Raises StartError."""
        ledger = cls(path, limits or LedgerLimits(), clock)
        try:
            with closing(_connect(path)) as connection:
                _prepare(connection, 0)
                ledger._newest = _newest(connection)
            if path.stat().st_mode & 0o007:
                _log.warning("%s can be read by every user of this machine: chmod 600 makes it private", path)
        except (OSError, sqlite3.Error, _NoLedger) as error:
            raise StartError(f"{path}: cannot be used as a ledger: {error}") from error
        ledger._thread.start()
        return ledger

    @property
    def dropped(self) -> int:
        """Records that were not kept because the queue was full or the file could not be written."""
        return self._dropped

    def record(self, account: RequestRecord) -> None:
        self._put(account)

    def keep(self, path: str, body: bytes) -> str:
        """Keeps a request as its client sent it, where the limits say so. path: as it is routed.

        Returns the key that the request's record has to name; "" where the body is not kept.
        """
        if not self._limits.requests:
            return ""
        with self._lock:
            fits = self._waiting + len(body) <= self._limits.queued_bytes
            self._waiting += len(body) if fits else 0
        if not fits:
            self._drop(1)
            return ""
        key = secrets.token_hex(12)  # x-request-id is the client's, which may give it to many requests
        if not self._put(KeptRequest(key, path, body)):
            self._freed(len(body))
            return ""
        return key

    def _put(self, item: RequestRecord | KeptRequest) -> bool:
        try:
            self._queue.put_nowait((self._clock(), item))
        except queue.Full:
            self._drop(1)
            return False
        return True

    def _freed(self, size: int) -> None:
        with self._lock:
            self._waiting -= size

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count

    def close(self) -> None:
        """Writes the records that wait; gives up after some seconds."""
        self._queue.put(None)
        self._thread.join(10)

    def flush(self) -> None:
        """Returns when everything recorded until now is in the file, or was dropped."""
        self._queue.join()

    def _write_all(self) -> None:
        last = False
        while not last:
            batch, last = self._take()
            try:
                self._write(batch)
            except (OSError, sqlite3.Error, _NoLedger) as error:
                self._lost(len(batch), error)
            else:
                self._wrote(len(batch))
            count = len(batch) + last
            self._freed(sum(len(one.body) for _, one in batch if isinstance(one, KeptRequest)))
            batch.clear()  # else its bodies would stay until the next request
            for _ in range(count):
                self._queue.task_done()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """What waits, at least one item, and whether the ledger is being closed."""
        batch: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == _BATCH or self._queue.empty():
                return batch, False
            item = self._queue.get()
        return batch, True

    def _lost(self, count: int, error: Exception) -> None:
        """Counts lost records, with one warning for each outage, however long it lasts."""
        self._drop(count)
        if not self._outage:
            _log.warning(
                "%s cannot be written, and no requests are kept until it can be: %s", self.path, error
            )
        self._outage += count

    def _wrote(self, count: int) -> None:
        if count and self._outage:
            _log.warning("%s is written again, %d requests were not kept", self.path, self._outage)
            self._outage = 0

    def _write(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        records = [(at, one) for at, one in batch if isinstance(one, RequestRecord)]
        kept = [(at, one) for at, one in batch if isinstance(one, KeptRequest)]
        with closing(_connect(self.path)) as connection:
            if _prepare(connection, self._newest):
                _log.warning("%s was moved or deleted: a new ledger was begun in its place", self.path)
            insert_requests(connection, kept)
            with connection:
                for at, one in records:
                    added = connection.execute(_INSERT, _row(at, one, self._limits)).lastrowid
                    if one.kept_as and added is not None:
                        link_request(connection, one.kept_as, added)
                _trim(connection, self._limits)
            self._newest = max(self._newest, _newest(connection))
            connection.executescript("PRAGMA incremental_vacuum;")  # execute() would free a single page only


_Waiting = tuple[float, RequestRecord | KeptRequest]


class _NoLedger(Exception):
    """The file is another program's database, or a ledger of another version."""


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made with mode 600 where there is none. SQLite gives its mode to the
    files beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE))
    connection = sqlite3.connect(path, timeout=5)
    try:
        _check_ours(connection)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: sqlite3.Connection) -> None:
    """Raises _NoLedger before anything is written to another program's database."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    other = version == 0 and connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
    if other:
        raise _NoLedger(f"it is another program's database, which has a table or index {other[0]!r}")
    if version not in (0, _VERSION):
        raise _NoLedger(f"it is a ledger of version {version}, and this fortieth writes version {_VERSION}")


def _prepare(connection: sqlite3.Connection, newest: int) -> bool:
    """Makes the table where there is none, with row numbers that continue from `newest`; returns whether it
    did.
    """
    known = connection.execute("SELECT name FROM sqlite_master WHERE name = 'requests'").fetchone()
    if known is not None:
        return False
    connection.executescript(_SCHEMA + f"PRAGMA user_version = {_VERSION};")
    with connection:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('requests', ?)", (newest,))
    return True


def _newest(connection: sqlite3.Connection) -> int:
    """The number of the newest row; 0 where there is none."""
    return int(connection.execute("SELECT MAX(id) FROM requests").fetchone()[0] or 0)


def _row(at: float, account: RequestRecord, limits: LedgerLimits) -> tuple[object, ...]:
    record = to_record(account, limits.redact, limits.refused)
    text = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode()
    return at, account.request_id, account.model, account.session, account.verdict.value, text


def _trim(connection: sqlite3.Connection, limits: LedgerLimits) -> None:
    """Deletes the oldest rows beyond the limits. When there are too many bytes, a tenth more is deleted, so
    that not every write has to delete.
    """
    newest = _newest(connection)
    deleted = connection.execute("DELETE FROM requests WHERE id <= ?", (newest - limits.rows,)).rowcount
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    used = page * (pages - free)
    if used > _FULL * limits.bytes:
        rows = connection.execute("SELECT COUNT(*) FROM requests").fetchone()[0]
        kept = int(rows * 0.9 * limits.bytes / used)
        deleted += connection.execute("DELETE FROM requests WHERE id <= ?", (newest - kept,)).rowcount
    if deleted:
        trim_requests(connection)


def read_entries(
    path: Path,
    *,
    limit: int | None = None,
    after: int = 0,
    before: int = 0,
    oldest_first: bool = False,
    model: str = "",
    session: str = "",
    verdict: str = "",
) -> Iterator[Entry]:
    """The entries, newest first; with `after`, those with a greater id, oldest first; with `before`, those
    with a smaller id. Raises sqlite3.Error, OSError.
    """
    named = {"model": model, "session": session, "verdict": verdict}
    where = ["id > :after", *(f"{name} = :{name}" for name, value in named.items() if value)]
    where += ["id < :before"] if before else []
    order = "ASC" if after or oldest_first else "DESC"
    query = f"SELECT * FROM requests WHERE {' AND '.join(where)} ORDER BY id {order} LIMIT :limit"
    values = {"after": after, "before": before, "limit": -1 if limit is None else limit, **named}
    with closing(_open_to_read(path)) as connection:
        for row in connection.execute(query, values):
            yield _entry(row)


def find_entry(path: Path, id: str) -> Entry | None:
    """The entry with this number, or the newest one of this request id. Raises sqlite3.Error, OSError."""
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
