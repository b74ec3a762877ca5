"""`fortieth ledger`: reads the ledger's file, of a running server or of one that has ended."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.logs import escaped
from proxy.cli.exits import fail
from proxy.conversation.verdict import Verdict
from proxy.records.words import counted

if TYPE_CHECKING:
    from proxy.records.ledger import Entry

ledger_cli = typer.Typer(
    name="ledger", help="Read the requests that a server's ledger has kept.", no_args_is_help=True
)

LedgerFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file that `serve --ledger` names.")]
_POLL_S = 0.5


@ledger_cli.command(short_help="Show the newest requests, one on each line.")
def tail(
    file: LedgerFile,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many requests to show.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and show each new request.")] = False,
    verdict: Annotated[Verdict | None, typer.Option(help="Show requests with this verdict only.")] = None,
) -> None:
    """Show the newest requests, one on each line: number, time, request id, model, turn, verdict, and why."""
    # here and below: imported late, because --help does not need it
    from proxy.records.ledger import read_entries

    with _complaints():
        wanted = verdict.value if verdict else ""
        entries = list(read_entries(file, limit=lines, verdict=wanted))[::-1]
        last = _print(entries, 0)
        while follow:
            time.sleep(_POLL_S)
            # a file that was moved away comes back with the next request, and its numbers continue
            with contextlib.suppress(FileNotFoundError, sqlite3.OperationalError):
                last = _print(read_entries(file, after=last or -1, verdict=wanted), last)


def _print(entries: Iterable[Entry], last: int) -> int:
    """Prints the entries; returns the number of the last one printed."""
    for entry in entries:
        if entry.id > last:
            typer.echo(one_line(entry))
            last = entry.id
    return last


@ledger_cli.command()
def show(
    file: LedgerFile, id: Annotated[str, typer.Argument(help="The request's number, or its x-request-id.")]
) -> None:
    """Show one request with everything that the guard did."""
    from proxy.records.ledger import find_entry

    with _complaints():
        entry = find_entry(file, id)
    if entry is None:
        fail(f"{file} has no request {id!r}")
    typer.echo(json.dumps(_whole(entry), ensure_ascii=False, indent=2))


@ledger_cli.command()
def export(
    file: LedgerFile,
    after: Annotated[int, typer.Option(min=0, help="Only requests with a number greater than this.")] = 0,
) -> None:
    """Write every request as JSON Lines, the oldest first."""
    from proxy.records.ledger import read_entries

    with _complaints():
        for entry in read_entries(file, after=after, oldest_first=True):
            typer.echo(json.dumps(_whole(entry), ensure_ascii=False))


def _whole(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "at": entry.at, **entry.record}


def one_line(entry: Entry) -> str:
    """An entry's number, time, request id, model, turn, verdict, what was wrong, and what was done to it."""
    record = entry.record
    refused = [problem for attempt in record["attempts"] for problem in attempt["problems"]]
    found = [f"{problem['rule']} at {problem['path'] or '/'}" for problem in refused or record["problems"]]
    repeated = sum(bool(attempt.get("repeated")) for attempt in record["attempts"])
    at = datetime.fromtimestamp(entry.at).strftime("%Y-%m-%d %H:%M:%S")
    parts = [
        f"{entry.id:>6} {at} {entry.request_id} {entry.model} turn {record['turn']} {record['verdict']}",
        counted(record["calls"], "call") if record["calls"] else "",
        "no answer at all" if record.get("empty") else "",
        f"{len(record['attempts'])} attempts" if len(record["attempts"]) > 1 else "",
        f"{repeated} stopped for repetition" if repeated else "",
        *dict.fromkeys(found),
        *(f"{fix['kind']} at {fix['path'] or '/'}" for fix in record["fixes"]),
        record["ending"] if record["ending"] != "finished" else "",
        record["error"],
        f"{record['timings']['total'] * 1000:.0f} ms",
    ]
    return escaped(", ".join(part for part in parts if part))  # it holds what clients and models wrote


class _complaints:
    """Ends the command with one line and exit code 1 where the file cannot be read."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(0) from None
        if isinstance(error, BrokenPipeError):
            return  # whoever read the output has had enough
        if isinstance(error, OSError | sqlite3.Error | ValueError):
            fail(str(error))
