"""`fortieth sessions`: the list, one session with what has changed in its prompt, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from proxy.cli.main import cli
from proxy.cli.sessions import details, table
from proxy.conversation.cache_report import CacheReport, MissCause
from proxy.records.session_stats import ADVICE, SessionRow, row_object
from proxy.upstreams.scripted import ScriptedUpstream
from tests.proxy.attempts import Attempts, ask
from tests.proxy.live import LiveServer, serving
from tests.proxy.requests import CALL

NOW = 1000.0
REUSED = CacheReport(96, 100, "ram")
MISSED = CacheReport(
    40, 100, "disk", MissCause.line, at=41, message=0, before="It is 10:00\x1b[2J\n", now="It is 10:05"
)
ROW = SessionRow("agent-1", "m", "x-session-id", 3, 2, 300, 200, 30, last_seen=NOW - 90)


def shown(row: SessionRow, kept: Any = None) -> dict[str, Any]:
    """As the server answers it."""
    answered: dict[str, Any] = json.loads(json.dumps({**row_object(row), "cache": kept}))
    return answered


def test_the_list() -> None:
    rows = [
        replace(ROW, cache=MISSED, miss=MISSED),
        replace(ROW, id="long " * 20, drifted=True, cache=REUSED, last_seen=NOW - 7200),
    ]
    head, first, second = table([shown(row) for row in rows], NOW)
    assert head.split() == ["session", "turns", "reused", "drift", "seen", "last", "miss"]
    assert first.split() == ["agent-1", "2", "67%", "no", "2", "min", "changing-line"]
    assert second.startswith("long long long")
    assert second.split()[-5:] == ["67%", "yes", "2", "h", "-"], "nothing was missed, and no cause is named"
    assert max(map(len, (head, first, second))) <= 80
    assert list(table([], NOW)) == ["no session has been seen yet"]


def test_one_session_shows_what_changed() -> None:
    kept = {"branches": 1, "tokens": 130, "ram_bytes": 9, "tier": "ram", "pinned": True, "idle_s": 1.0}
    text = "\n".join(details(shown(replace(ROW, cache=REUSED, miss=MISSED), kept)))
    for part in (
        "named by   x-session-id",
        "turns      2, in 3 requests",
        "tokens     300 of prompts, 200 of them reused (67%); 30 generated",
        "kept       130 tokens in 1 branches, ram, pinned",
        "last       96 of 100 tokens reused, from ram: none",
        "last miss  40 of 100 tokens reused: changing-line",
        ADVICE[MissCause.line],
        "the prompts differ at token 41, in message 0:",
        r'before   "It is 10:00\x1b[2J\n"',
        'now      "It is 10:05"',
    ):
        assert part in text
    assert all(line.isprintable() for line in text.splitlines())


def test_a_session_that_missed_nothing_names_no_cause() -> None:
    text = "\n".join(details(shown(replace(ROW, cache=REUSED))))
    assert "last miss  none" in text
    text = text.replace("from ram: none", "")  # the tier: a cause has the same word
    assert not any(
        cause.value in text for cause in MissCause if cause not in (MissCause.none, MissCause.reasoning)
    )


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    plan = Attempts()
    with serving(ScriptedUpstream(plan), api_key="secret") as running:
        for session in ("agent-1", "agent-2"):
            headers = {"authorization": "Bearer secret", "x-session-id": session}
            assert ask(running, plan.plan(session, CALL), False, headers).verdict == "clean"
        yield running


def run(server: LiveServer, *arguments: str, key: str = "secret") -> Result:
    return CliRunner().invoke(cli, ["sessions", *arguments, "--base-url", server.base_url, "--key", key])


def test_a_server_is_asked(server: LiveServer) -> None:
    result = run(server)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["session", "agent-2", "agent-1"]
    one = run(server, "agent-1")
    assert one.stdout.splitlines()[0] == "session    agent-1"
    assert [json.loads(line)["id"] for line in run(server, "agent", "--json").stdout.splitlines()] == [
        "agent-2",
        "agent-1",
    ]


def elsewhere(status: int) -> Result:
    """From a server that is not fortieth."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = Thread(target=other.handle_request)
        thread.start()
        result = CliRunner().invoke(cli, ["sessions", "--base-url", f"http://127.0.0.1:{other.server_port}"])
        thread.join()
    return result


def test_refusals(server: LiveServer) -> None:
    for result, code, words in (
        (run(server, "agent-9"), 1, "no session 'agent-9'"),
        (run(server, key="wrong"), 1, "give its API key with --key"),
        (elsewhere(404), 1, "no server of fortieth answers at http"),
        (elsewhere(405), 1, "no server of fortieth answers at http"),
        (elsewhere(500), 1, "refuses the list of its sessions (500)"),
        (CliRunner().invoke(cli, ["sessions", "--base-url", "http://127.0.0.1:9"]), 1, "no server"),
        (CliRunner().invoke(cli, ["sessions", "--base-url", "nonsense"]), 2, "must be like"),
    ):
        assert result.exit_code == code
        assert words in result.stderr
        assert result.stderr.startswith("fortieth: sessions: ")
        assert result.stderr.count("\n") == 1
