"""A ledger with its requests: kept as they were sent, replayed on two arms, trimmed with their records."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from proxy.ab.from_ledger import ledger_workload
from proxy.ab.store import ResultStore
from proxy.cli.ab_run import run_ab
from proxy.conversation.errors import SettingsError, StartError
from proxy.conversation.verdict import GuardMode
from proxy.http.read_settings import load_settings
from proxy.records.kept_requests import read_requests
from proxy.records.ledger import Ledger, LedgerLimits, read_entries
from proxy.upstreams.scripted import ScriptedUpstream
from tests.proxy.ab.test_run import request, sloppy
from tests.proxy.live import LoopThread, serving
from tests.proxy.records.test_ledger import ACCOUNT

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
        },
    }
]
KEPT = LedgerLimits(requests=True)


def record_session(thread: LoopThread, file: Path) -> int:
    """A session of three turns in OpenAI's dialect and one request in Anthropic's; how many turns in all."""
    ledger = Ledger.open(file, KEPT)
    with serving(ScriptedUpstream(sloppy), mode=GuardMode.repair, ledger=ledger, thread=thread) as server:
        messages: list[dict[str, object]] = [{"role": "user", "content": "Look around."}]
        headers = {"x-session-id": "s1"}
        for number in range(3):
            answer = server.post({"model": "scripted", "messages": messages, "tools": TOOLS}, headers).json()
            message = answer["choices"][0]["message"]
            call = message["tool_calls"][0]
            messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": f"seen {number}"}]
        tool = {"name": "look", "input_schema": TOOLS[0]["function"]["parameters"]}  # type: ignore[index]
        body = {"model": "scripted", "max_tokens": 50, "messages": messages[:1], "tools": [tool]}
        httpx.post(
            f"{server.base_url}/messages", json=body, headers={"x-session-id": "s2"}
        ).raise_for_status()
    ledger.close()
    return 4


def test_a_recorded_session_is_replayed_and_agrees_with_the_ledger(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ledger.sqlite"
    turns = record_session(thread, file)
    workload = ledger_workload(file)
    assert [item.turns for item in workload.items] == [3, 1]
    assert workload.recorded["requests"] == turns
    assert workload.recorded["requests with the verdict repaired"] == turns
    assert workload.recorded["calls delivered"] == turns
    out = tmp_path / "out"
    with (
        serving(ScriptedUpstream(sloppy), mode=GuardMode.off, thread=thread) as bare,
        serving(ScriptedUpstream(sloppy), mode=GuardMode.repair, thread=thread) as guarded,
    ):
        assert run_ab(request(out, bare.base_url, guarded.base_url, ledger=file)) == 0
    results = ResultStore(out).read()
    delivered = [turn.delivered.value for turn in results.turns if turn.arm == guarded.base_url]
    assert delivered == ["valid"] * workload.recorded["calls delivered"]
    assert all(turn.broken for turn in results.turns if turn.arm == bare.base_url)
    assert "the ledger says: 4 calls delivered" in capsys.readouterr().out


def test_what_is_replayed_is_what_the_client_sent(thread: LoopThread, tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    record_session(thread, file)
    first, *_ = ledger_workload(file).items
    dialogue = first.open()
    due = [dialogue.next() for _ in range(3)]
    assert [len(one.messages) for one in due if one is not None] == [1, 3, 5]
    assert due[2] is not None
    assert [tool["function"]["name"] for tool in due[2].tools] == ["look"]
    assert due[2].messages[4]["content"] == "seen 1"
    assert dialogue.next() is None


def test_no_body_is_kept_unless_it_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file)
    assert ledger.keep("/v1/chat/completions", b"{}") == ""
    ledger.record(ACCOUNT)
    ledger.close()
    assert list(read_requests(file)) == []
    with pytest.raises(StartError, match="ledger_requests = true"):
        ledger_workload(file)


def test_bodies_go_with_their_records(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    clock = iter(range(1000))
    ledger = Ledger.open(file, LedgerLimits(rows=5, requests=True), clock=lambda: float(next(clock)))
    for number in range(20):
        key = ledger.keep("/v1/chat/completions", json.dumps({"number": number}).encode())
        ledger.record(replace(ACCOUNT, request_id=f"req_{number}", kept_as=key))
        ledger.flush()
    ledger.close()
    assert [one.request_id for one in read_requests(file)] == [f"req_{n}" for n in range(15, 20)]
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT COUNT(*) FROM kept_requests").fetchone()[0] <= 6


def test_a_body_whose_request_never_ended_goes_with_the_records_of_its_time(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    clock = iter(range(1000))
    ledger = Ledger.open(file, LedgerLimits(rows=5, requests=True), clock=lambda: float(next(clock)))
    ledger.keep("/v1/chat/completions", b"{}")
    for _ in range(20):
        ledger.record(ACCOUNT)
        ledger.flush()
    ledger.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT COUNT(*) FROM kept_requests").fetchone() == (0,)


def test_requests_of_one_id_are_told_apart(thread: LoopThread, tmp_path: Path) -> None:
    """Gateways send one x-request-id for all requests of a trace."""
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file, KEPT)
    with serving(ScriptedUpstream(sloppy), mode=GuardMode.repair, ledger=ledger, thread=thread) as server:
        for session, text in (("s1", "one"), ("s2", "two"), ("s1", "three")):
            body = {"model": "scripted", "messages": [{"role": "user", "content": text}], "tools": TOOLS}
            server.post(body, {"x-session-id": session, "x-request-id": "trace"}).raise_for_status()
    ledger.close()
    found = [
        (one.session, json.loads(one.request.body)["messages"][0]["content"]) for one in read_requests(file)
    ]
    assert found == [("s1", "one"), ("s2", "two"), ("s1", "three")]
    workload = ledger_workload(file)
    assert [item.turns for item in workload.items] == [2, 1]
    assert workload.recorded["requests"] == 3


def test_a_request_with_several_answers_is_one_turn(thread: LoopThread, tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file, KEPT)
    with serving(ScriptedUpstream(sloppy), mode=GuardMode.repair, ledger=ledger, thread=thread) as server:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "x"}], "tools": TOOLS, "n": 3}
        assert len(server.post(body).json()["choices"]) == 3
    ledger.close()
    workload = ledger_workload(file)
    assert [item.turns for item in workload.items] == [1]
    due = workload.items[0].open().next()
    assert due is not None
    assert "n" not in due.extra, "one answer is judged"


def test_a_ledger_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """Its bodies were known by x-request-id only, and are left out."""
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file)
    ledger.record(ACCOUNT)
    ledger.close()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bodies (at REAL, request_id TEXT, path TEXT, body BLOB)")
        connection.execute("INSERT INTO bodies VALUES (1.0, 'req_1', '/v1/chat/completions', x'00')")
    assert list(read_requests(file)) == []
    ledger = Ledger.open(file, KEPT)
    key = ledger.keep("/v1/chat/completions", b"{}")
    ledger.record(replace(ACCOUNT, request_id="new", kept_as=key))
    ledger.close()
    assert [one.request_id for one in read_entries(file, oldest_first=True)] == ["req_1", "new"]
    assert [one.request_id for one in read_requests(file)] == ["new"]


def test_keeping_and_leaving_out_at_once_is_refused() -> None:
    both = {"ledger_redact": True, "ledger_requests": True}
    with pytest.raises(SettingsError, match=r"--ledger-requests.*ledger_redact leaves that out"):
        load_settings(both, {})


def test_bodies_that_wait_are_bounded(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite", replace(KEPT, queued_bytes=10))
    assert ledger.keep("/v1/chat/completions", b"x" * 11) == ""
    assert ledger.dropped == 1
    ledger.close()


def test_a_body_waits_until_it_is_written(tmp_path: Path) -> None:
    """Not only until the writer has taken it: the disk may be slow."""
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file, replace(KEPT, queued_bytes=10))
    with sqlite3.connect(file) as other:
        other.execute("BEGIN IMMEDIATE")  # the writer waits
        assert ledger.keep("/v1/chat/completions", b"x" * 6)
        for _ in range(20):
            assert ledger.keep("/v1/chat/completions", b"x" * 6) == ""
            time.sleep(0.01)
        other.rollback()
    ledger.flush()
    assert ledger.keep("/v1/chat/completions", b"x" * 6)
    ledger.close()


@pytest.mark.parametrize("column", ["body", "record"])
def test_a_damaged_row_is_one_line(tmp_path: Path, column: str) -> None:
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file, KEPT)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    ledger.record(replace(ACCOUNT, kept_as=ledger.keep("/v1/chat/completions", body)))
    ledger.close()
    assert len(ledger_workload(file).items) == 1
    with sqlite3.connect(file) as connection:
        table = "kept_requests" if column == "body" else "requests"
        connection.execute(f"UPDATE {table} SET {column} = x'00'")
    with pytest.raises(StartError, match="cannot be read as a ledger"):
        ledger_workload(file)


def test_a_file_that_is_no_ledger_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("nonsense " * 50)
    for name in ("other", "nothing"):
        with pytest.raises(StartError, match="cannot be read as a ledger"):
            ledger_workload(tmp_path / name)
