"""The file of a run: what was to be measured, and everything that was, written after each conversation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from proxy.ab.measured import MeasuredItem, MeasuredMemory, MeasuredTurn, Results, read_turn, to_row
from proxy.conversation.errors import StartError

NAME = "results.sqlite"
_VERSION = 1
_TABLES: Mapping[str, type[MeasuredTurn] | type[MeasuredItem] | type[MeasuredMemory]] = {
    "turns": MeasuredTurn,
    "items": MeasuredItem,
    "memory": MeasuredMemory,
}


class ResultStore:
    """The SQLite file of one run. A conversation is in it whole, or not at all. Everything raises StartError
    where the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    @classmethod
    def create(cls, folder: Path, plan: Mapping[str, Any]) -> ResultStore:
        """A new file for the plan. Raises StartError where the folder has one, or cannot be written."""
        store = cls(folder)
        if store.path.exists():
            raise StartError(f"{folder} holds the results of another run: --resume {folder} goes on with it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"{store.path} cannot be written: {error}") from error
        with store._connected() as connection:
            connection.execute("CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT)")
            for table, kind in _TABLES.items():
                columns = ", ".join(f'"{one.name}"' for one in fields(kind))
                connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            store._keep(connection, "plan", plan)
        return store

    @classmethod
    def resume(cls, folder: Path) -> tuple[ResultStore, dict[str, Any]]:
        """The file of a run that was ended, and its plan. Raises StartError."""
        store = cls(folder)
        if not store.path.is_file():
            raise StartError(f"{folder}: there is no run to go on with, because it has no {NAME}")
        with store._connected() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                raise StartError(f"{store.path} is of another version of fortieth ({version})")
            plan = store._kept(connection, "plan")
        if not isinstance(plan, dict):
            raise StartError(f"{store.path} has no plan of a run")
        return store, plan

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as connection:
                connection.row_factory = sqlite3.Row
                with connection:
                    yield connection
        except (sqlite3.Error, json.JSONDecodeError) as error:
            raise StartError(
                f"{self.path} cannot be read or written as a file of results: {error}"
            ) from error

    def add(self, item: MeasuredItem, turns: Sequence[MeasuredTurn]) -> None:
        """Keeps a conversation with its turns, in one transaction."""
        with self._connected() as connection:
            _insert(connection, "items", [item])
            _insert(connection, "turns", turns)

    def add_memory(self, measured: Sequence[MeasuredMemory]) -> None:
        with self._connected() as connection:
            _insert(connection, "memory", measured)

    def keep(self, key: str, value: Any) -> None:
        """Keeps something else about the run, a JSON value."""
        with self._connected() as connection:
            self._keep(connection, key, value)

    def kept(self, key: str) -> Any:
        """What keep() was given last; None for nothing."""
        with self._connected() as connection:
            return self._kept(connection, key)

    @staticmethod
    def _keep(connection: sqlite3.Connection, key: str, value: Any) -> None:
        text = json.dumps(value, ensure_ascii=False)
        connection.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, text))

    @staticmethod
    def _kept(connection: sqlite3.Connection, key: str) -> Any:
        row = connection.execute("SELECT value FROM run WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def read(self) -> Results:
        """Everything that was measured until now, in the order in which it was."""
        with self._connected() as connection:
            rows = {
                table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
                for table in _TABLES
            }
        return Results(
            tuple(map(read_turn, rows["turns"])),
            tuple(MeasuredItem(**row) for row in rows["items"]),
            tuple(MeasuredMemory(**row) for row in rows["memory"]),
        )


def _insert(
    connection: sqlite3.Connection,
    table: str,
    values: Sequence[MeasuredTurn] | Sequence[MeasuredItem] | Sequence[MeasuredMemory],
) -> None:
    names = [one.name for one in fields(_TABLES[table])]
    marks = ", ".join("?" * len(names))
    rows = [tuple(to_row(value)[name] for name in names) for value in values]
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
