"""Lists the segments that a cache folder holds, without writing anything."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from engine.cache.blobs import DAMAGE, FAILURES, Snapshot
from engine.cache.record import OtherFormat, Record, decode_record


@dataclass(slots=True)
class Contents:
    """What a folder holds.

    records: the whole ones, by name.
    damaged: names of records that are not whole.
    missing: names of records whose tensors are not there.
    loose: names of tensors without a record.
    formats: formats of records that another version of fortieth wrote.
    """

    items: Snapshot | None = None
    records: dict[bytes, Record] = field(default_factory=dict)
    damaged: set[bytes] = field(default_factory=set)
    missing: set[bytes] = field(default_factory=set)
    loose: set[bytes] = field(default_factory=set)
    formats: set[int] = field(default_factory=set)


def read_contents(base: Path) -> Contents:
    """Reads the folder. Raises OSError, or sqlite3.Error where the database is damaged."""
    try:
        found = Contents(Snapshot(base))
    except (*FAILURES, *DAMAGE) as error:
        raise error if isinstance(error, FAILURES) else sqlite3.DatabaseError(str(error)) from error
    assert found.items is not None
    rows = found.items.rows
    for key, row in rows.items():
        name = key[1:]
        if key[:1] == b"t":
            if b"m" + name not in rows:
                found.loose.add(name)
            continue
        record = decode_record(row.value if row.value is not None else found.items.get(key, read=True).read())
        tensors = rows.get(b"t" + name)
        match record:
            case OtherFormat(number):
                found.formats.add(number)
            case Record() if record.name == name and tensors is not None:
                found.records[name] = record
                if tensors.filename is None or not (base / tensors.filename).is_file():
                    found.missing.add(name)
            case _:
                found.damaged.add(name)
    return found
