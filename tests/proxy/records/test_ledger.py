"""The ledger: what is kept, its bounds, routes and commands; and that a request never waits for it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from proxy.cli.main import cli
from proxy.conversation.errors import StartError
from proxy.conversation.events import FinishReason, Usage
from proxy.conversation.verdict import GuardMode, Verdict
from proxy.records.ledger import Ledger, LedgerLimits, find_entry, read_entries
from proxy.records.request_record import AttemptRecord, Ending, RequestRecord, Timings
from proxy.upstreams.scripted import ScriptedUpstream
from repair.types import Fix, FixKind, Problem
from repair.types import Verdict as TurnVerdict
from tests.proxy.attempts import Attempts, ask
from tests.proxy.live import serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL

FIX = Fix(FixKind.to_number, "/days", '"two"', "2")
PROBLEM = Problem("/city", "type", "must be a string, got Lisbon")
ACCOUNT = RequestRecord(
    request_id="req_1",
    model="m",
    session="s",
    turn=3,
    mode=GuardMode.full,
    stream=True,
    format="hermes",
    verdict=Verdict.reasked,
    ending=Ending.finished,
    reason=FinishReason.tool_calls,
    attempts=(
        AttemptRecord(TurnVerdict.reask, (), (PROBLEM,), Usage(10, 5, 8), 0.5, asked=("m at a", "m at b")),
        AttemptRecord(None, error="Lisbon is closed", repeated=True),
    ),
    calls=1,
    fixes=(FIX,),
    problems=(PROBLEM,),
    usage=Usage(10, 5, 8),
    timings=Timings(0.1, 0.2, 0.25, 0.3, 0.4, 0.5),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "ledger.sqlite"


def keep(file: Path, *accounts: RequestRecord, limits: LedgerLimits | None = None) -> int:
    """Writes them, and tells how many were dropped."""
    ledger = Ledger.open(file, limits, clock=lambda: 1.5e9)
    for account in accounts:
        ledger.record(account)
    ledger.close()
    return ledger.dropped


def test_an_account_comes_back_whole(file: Path) -> None:
    keep(file, ACCOUNT)
    (entry,) = read_entries(file)
    assert (entry.id, entry.at, entry.request_id, entry.model, entry.verdict) == (
        1,
        1.5e9,
        "req_1",
        "m",
        "reasked",
    )
    record = entry.record
    assert record["fixes"] == [{"kind": "to_number", "path": "/days", "before": '"two"', "after": "2"}]
    assert record["problems"] == [{"path": "/city", "rule": "type", "message": PROBLEM.message}]
    assert record["attempts"][0]["usage"]["cached_tokens"] == 8
    assert record["timings"]["reasking"] == 0.4
    assert (record["mode"], record["ending"], record["reason"]) == ("full", "finished", "tool_calls")


def test_redaction_leaves_kinds_rules_and_paths(file: Path) -> None:
    keep(file, ACCOUNT, limits=LedgerLimits(redact=True))
    (entry,) = read_entries(file)
    text = json.dumps(entry.record)
    assert "Lisbon" not in text
    assert "two" not in text
    assert (entry.record["fixes"][0]["kind"], entry.record["problems"][0]["rule"]) == ("to_number", "type")


def test_texts_are_cut(file: Path) -> None:
    keep(file, replace(ACCOUNT, error="x" * 100_000, fixes=(replace(FIX, before="\ud800"),)))
    (entry,) = read_entries(file)
    assert len(entry.record["error"]) < 2100


def test_the_oldest_rows_go(file: Path) -> None:
    keep(file, *(replace(ACCOUNT, request_id=f"r{i}") for i in range(700)), limits=LedgerLimits(rows=10))
    assert [entry.request_id for entry in read_entries(file)] == [f"r{i}" for i in range(699, 689, -1)]


def test_the_file_stays_small(file: Path) -> None:
    limits = LedgerLimits(bytes=400_000, queued=10_000)
    for _ in range(4):
        assert keep(file, *(replace(ACCOUNT, error="x" * 1000) for _ in range(600)), limits=limits) == 0
    size = sum(path.stat().st_size for path in file.parent.iterdir())
    assert size < 2 * limits.bytes
    for number in range(60):  # a write each, with which the file fills up and is trimmed again
        keep(file, replace(ACCOUNT, error=f"{number:>1000}"), limits=limits)
        size = sum(path.stat().st_size for path in file.parent.iterdir())
        assert size < 0.97 * limits.bytes, "there is room for a log of SQLite's"
    assert len(list(read_entries(file))) > 50


def test_what_does_not_fit_is_dropped_and_counted(file: Path) -> None:
    ledger = Ledger.open(file, LedgerLimits(queued=5))
    with sqlite3.connect(file) as blocker:
        blocker.execute("BEGIN IMMEDIATE")  # the writer waits
        for _ in range(300):
            ledger.record(ACCOUNT)
        blocker.rollback()
    blocker.close()
    ledger.close()
    kept = len(list(read_entries(file)))
    assert ledger.dropped > 0
    assert kept + ledger.dropped == 300


def test_a_file_that_cannot_be_written_costs_no_request(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger.open(file)
    file.write_text("somebody's notes " * 400)
    ledger.record(ACCOUNT)
    ledger.close()
    assert ledger.dropped == 1
    assert "cannot be written" in caplog.text
    assert file.read_text() == "somebody's notes " * 400


def test_files_that_are_no_ledger(tmp_path: Path, file: Path) -> None:
    keep(file)
    with sqlite3.connect(file) as other:
        other.execute("PRAGMA user_version = 9")
    other.close()
    text = tmp_path / "text"
    text.write_text("no database, but long enough to be looked at " * 40)
    for path, message in ((file, "version 9"), (text, "cannot be used"), (tmp_path, "cannot be used")):
        with pytest.raises(StartError, match=message):
            Ledger.open(path)


def test_many_threads_may_record(file: Path) -> None:
    ledger = Ledger.open(file)

    def record() -> None:
        for _ in range(50):
            ledger.record(ACCOUNT)

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.flush()
    assert len(list(read_entries(file))) == 400
    ledger.close()


@pytest.fixture
def kept(file: Path) -> Iterator[str]:
    """The root of a server that has answered three requests and keeps them."""
    plan = Attempts()
    ledger = Ledger.open(file)
    with serving(ScriptedUpstream(plan), mode=GuardMode.repair, ledger=ledger) as server:
        for name, text in (("clean", CALL), ("sloppy", SLOPPY_CALL), ("hopeless", HOPELESS_CALL)):
            ask(server, plan.plan(name, text), False, {"x-request-id": f"req_{name}", "session-id": "s1"})
        ledger.flush()
        yield server.base_url + "/fortieth/requests"
    ledger.close()


def test_the_routes(kept: str) -> None:
    listed = httpx.get(kept).json()
    assert [one["request_id"] for one in listed["data"]] == ["req_hopeless", "req_sloppy", "req_clean"]
    assert listed["dropped"] == 0
    for query, ids in (
        ("?limit=1", ["req_hopeless"]),
        ("?after=1", ["req_sloppy", "req_hopeless"]),
        ("?before=3", ["req_sloppy", "req_clean"]),
        ("?before=3&limit=1", ["req_sloppy"]),
        ("?before=1", []),
        ("?before=0", ["req_hopeless", "req_sloppy", "req_clean"]),
        ("?verdict=repaired", ["req_sloppy"]),
        ("?session=s1&verdict=clean", ["req_clean"]),
        ("?session=s2", []),
        ("?model=scripted&limit=2", ["req_hopeless", "req_sloppy"]),
    ):
        assert [one["request_id"] for one in httpx.get(kept + query).json()["data"]] == ids, query
    for id in ("2", "req_sloppy"):
        one = httpx.get(f"{kept}/{id}").json()
        assert (one["id"], one["fixes"][0]["kind"]) == (2, "trailing_comma")
    for wrong, status in (
        ("/req_none", 404),
        ("?limit=x", 400),
        ("?limit=-1", 400),
        ("?after=1e3", 400),
        ("?before=x", 400),
        ("?verdict=mended", 400),
    ):
        response = httpx.get(kept + wrong)
        assert (response.status_code, "error" in response.json()) == (status, True)


def test_a_server_without_a_ledger_says_so() -> None:
    with serving(ScriptedUpstream(Attempts())) as server:
        response = httpx.get(server.base_url + "/fortieth/requests")
    assert (response.status_code, "--ledger" in response.json()["error"]["message"]) == (404, True)


def test_the_commands(file: Path) -> None:
    clean = replace(ACCOUNT, request_id="req_2", verdict=Verdict.clean, fixes=(), problems=(), attempts=())
    keep(file, ACCOUNT, clean)
    run = CliRunner().invoke
    tail = run(cli, ["ledger", "tail", str(file)]).output.splitlines()
    mended = "1 call, 2 attempts, 1 stopped for repetition, type at /city, to_number at /days, 500 ms"
    assert f"req_1 m turn 3 reasked, {mended}" in tail[0]
    assert "req_2 m turn 3 clean, 1 call, 500 ms" in tail[1]
    assert len(run(cli, ["ledger", "tail", str(file), "--verdict", "clean"]).output.splitlines()) == 1
    shown = json.loads(run(cli, ["ledger", "show", str(file), "req_1"]).output)
    assert (shown["id"], shown["attempts"][0]["asked"]) == (1, ["m at a", "m at b"])
    exported = [json.loads(line) for line in run(cli, ["ledger", "export", str(file)]).output.splitlines()]
    assert [one["request_id"] for one in exported] == ["req_1", "req_2"]
    assert find_entry(file, "2") is not None
    for wrong in (["show", str(file), "nope"], ["tail", str(file) + "x"], ["export", str(file.parent)]):
        done = run(cli, ["ledger", *wrong])
        assert (done.exit_code, done.output.startswith("fortieth: ")) == (1, True)
