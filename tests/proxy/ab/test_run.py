"""Whole runs of two arms: figures, files, an arm that dies, Ctrl-C, and going on."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import is_valid

from proxy.ab.corrupted import right_call
from proxy.ab.export import write_files
from proxy.ab.measured import Delivered
from proxy.ab.processes import free_port
from proxy.ab.store import ResultStore
from proxy.cli import ab_run
from proxy.cli.ab_run import AbRequest, run_ab
from proxy.conversation.errors import StartError
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GuardMode
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.bench.servers import answers
from tests.proxy.live import LoopThread, serving

# answers so many requests with a call that no tool has, and then is gone
MORTAL = """
import http.server, json, os, sys
left = int(sys.argv[2])
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"data": [{"id": "m"}]})
    def do_POST(self):
        global left
        left -= 1
        if left < 0:
            print("out of memory", flush=True)
            os._exit(9)
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}]})
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
"""


TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}


def sloppy(request: ChatRequest) -> Script:
    """A call with a comma too many: one reading is possible."""
    made = [
        (right_call({"function": {"name": one.name, "parameters": one.parameters}}), one)
        for one in request.tools
    ]
    call = next(call for call, tool in made if is_valid(dict(tool.parameters), dict(call.arguments)))
    arguments = json.dumps(call.arguments)
    text = f'<tool_call>\n{{"name": "{call.name}", "arguments": {arguments},}}\n</tool_call>'
    return Script((text,), format="hermes")


@contextmanager
def arms(thread: LoopThread, choose: Callable[[ChatRequest], Script]) -> Iterator[tuple[str, str]]:
    """Two servers over the same model: without the guard, and with it."""
    with (
        serving(ScriptedUpstream(choose), mode=GuardMode.off, thread=thread) as bare,
        serving(ScriptedUpstream(choose), mode=GuardMode.repair, thread=thread) as guarded,
    ):
        yield bare.base_url, guarded.base_url


def request(folder: Path, *names: str, **changed: Any) -> AbRequest:
    given: dict[str, Any] = {
        "arms": names,
        "model": None,
        "workload": "worlds",
        "ledger": None,
        "seeds": 3,
        "first_seed": 0,
        "turns": 1,
        "concurrency": "1",
        "temperature": None,
        "max_tokens": 64,
        "timeout": 20.0,
        "out": folder,
        "resume": None,
    }
    return AbRequest(**{**given, **changed})


def test_a_difference_is_found_and_written_to_every_file(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with arms(thread, sloppy) as (bare, guarded):
        assert run_ab(request(tmp_path, bare, guarded, seeds=9, concurrency="1,3")) == 0
    results = ResultStore(tmp_path).read()
    assert len(results.items) == 2 * 2 * 9
    assert all(turn.broken for turn in results.turns if turn.arm == bare)
    assert {turn.delivered for turn in results.turns if turn.arm == guarded} == {Delivered.valid}
    assert {item.round for item in results.items if item.streams == 3} == {0, 1, 2}
    found = json.loads((tmp_path / "results.json").read_text())
    shown = [one for one in found["verdicts"] if one["shown"] and one["measure"] == "broken turns"]
    turns = len(results.turns_of(guarded, 1))
    words = f"{guarded} delivers fewer broken turns than {bare}: 0 of {turns} against {turns} of {turns}."
    assert words in [one["words"] for one in shown]
    assert len(found["turns"]) == len(results.turns)
    with (tmp_path / "turns.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["delivered"] for row in rows] == [str(turn.delivered) for turn in results.turns]
    told = capsys.readouterr().out
    assert words in told.replace("\n", " ")
    assert str(tmp_path / "report.html") in told
    assert "out of" not in told


def test_one_server_alone_is_measured_and_compared_with_nothing(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with arms(thread, sloppy) as (bare, _):
        assert run_ab(request(tmp_path, bare)) == 0
    results = ResultStore(tmp_path).read()
    assert len(results.items) == 3
    assert all(turn.broken for turn in results.turns)
    assert json.loads((tmp_path / "results.json").read_text())["verdicts"] == []
    report = (tmp_path / "report.html").read_text()
    assert f"<h1>{bare}</h1>" in report
    assert f"{len(results.turns)} call text" in report
    for told in (report, capsys.readouterr().out):
        assert "difference" not in told


def test_the_first_arm_of_a_round_changes(thread: LoopThread, tmp_path: Path) -> None:
    with arms(thread, sloppy) as (bare, guarded):
        run_ab(request(tmp_path, bare, guarded))
    order = [item.arm for item in ResultStore(tmp_path).read().items]
    assert order == [bare, guarded, guarded, bare, bare, guarded]


def test_a_run_goes_on_with_what_is_missing(thread: LoopThread, tmp_path: Path) -> None:
    upstream = ScriptedUpstream(sloppy)
    with serving(upstream, thread=thread) as one, serving(upstream, thread=thread) as two:
        run_ab(request(tmp_path, one.base_url, two.base_url))
        before = ResultStore(tmp_path).read()
        lost = before.items[3]
        with sqlite3.connect(tmp_path / "results.sqlite") as connection:
            for table in ("items", "turns"):
                connection.execute(f"DELETE FROM {table} WHERE arm = ? AND item = ?", (lost.arm, lost.item))
        played = len(upstream.played)
        assert run_ab(request(tmp_path, resume=tmp_path)) == 0
    after = ResultStore(tmp_path).read()
    missing = [turn for turn in before.turns if (turn.arm, turn.item) == (lost.arm, lost.item)]
    assert len(upstream.played) - played == len(missing) > 0
    assert {(item.arm, item.item) for item in after.items} == {(item.arm, item.item) for item in before.items}
    assert len(after.items) == len(before.items)
    with pytest.raises(StartError, match=r"goes on with the plan of its run.*: arms"):
        run_ab(request(tmp_path, "bundled", "bundled", resume=tmp_path))
    with pytest.raises(StartError, match="--resume"):
        run_ab(request(tmp_path, one.base_url, two.base_url))


def recording(file: Path, *texts: str) -> None:
    file.write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": text}], "tools": [TOOL]}) + "\n"
            for text in texts
        )
    )


def test_a_recording_that_has_changed_stops_a_resumed_run(
    thread: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "talks.jsonl", tmp_path / "out"
    recording(file, "one", "two")
    monkeypatch.chdir(tmp_path)
    with arms(thread, sloppy) as (bare, guarded):
        assert run_ab(request(out, bare, guarded, workload="talks.jsonl")) == 0
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert run_ab(request(out, resume=out)) == 0
        assert len(ResultStore(out).read().items) == 4
        for texts in (("one",), ("one", "two", "three"), ("two", "one"), ("one", "2")):
            recording(file, *texts)
            with pytest.raises(StartError) as caught:
                run_ab(request(out, resume=out))
            assert f"{file} has other conversations than when the run began" in str(caught.value)
            assert "\n" not in str(caught.value)
    assert len(ResultStore(out).read().items) == 4


def test_an_interrupt_keeps_what_was_measured(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = 0

    def choose(request: ChatRequest) -> Script:
        nonlocal asked
        asked += 1
        if asked == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return sloppy(request)

    with arms(thread, choose) as (bare, guarded):
        assert run_ab(request(tmp_path, bare, guarded, seeds=5)) == 130
        kept = len(ResultStore(tmp_path).read().items)
        assert 0 < kept < 10
        assert (tmp_path / "report.html").is_file()
        assert f"fortieth ab --resume {tmp_path}" in capsys.readouterr().out
        assert run_ab(request(tmp_path, resume=tmp_path)) == 0
    assert len(ResultStore(tmp_path).read().items) == 10


def test_an_interrupt_keeps_conversations_that_ended_beside_one_that_goes_on(
    thread: LoopThread, tmp_path: Path
) -> None:
    asked = 0

    def choose(request: ChatRequest) -> Script:
        nonlocal asked
        asked += 1
        return Script((Stall(60.0), "late")) if asked == 1 else sloppy(request)

    def interrupt() -> None:
        seen = -1
        while asked < 2 or seen != asked:  # the others have ended when nobody asks any more
            seen = asked
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    with arms(thread, choose) as (bare, guarded):
        threading.Thread(target=interrupt, daemon=True).start()
        assert run_ab(request(tmp_path, bare, guarded, seeds=3, concurrency="3")) == 130
        kept = ResultStore(tmp_path).read().items
        assert len(kept) == 2
        assert {item.ended for item in kept} == {"done"}


def test_an_interrupt_while_files_are_written_leaves_them_whole(
    thread: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any) -> tuple[Path, ...]:
        os.kill(os.getpid(), signal.SIGINT)
        return write_files(*given)

    monkeypatch.setattr(ab_run, "write_files", interrupted)
    with arms(thread, sloppy) as (bare, guarded):
        assert run_ab(request(tmp_path, bare, guarded)) == 0
    assert (tmp_path / "report.html").read_text().endswith("</html>\n")
    assert len(json.loads((tmp_path / "results.json").read_text())["conversations"]) == 6


def test_an_arm_that_dies_is_told_in_one_line(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "mortal.py"
    script.write_text(MORTAL)
    mortal = f"{sys.executable} {script} {{port}} 5"
    out = tmp_path / "out"
    with serving(ScriptedUpstream(sloppy), thread=thread) as live:
        assert run_ab(request(out, live.base_url, mortal, seeds=6)) == 1
    results = ResultStore(out).read()
    assert {item.arm for item in results.items} == {live.base_url, mortal}
    assert Delivered.error not in {turn.delivered for turn in results.turns}
    told = [line for line in capsys.readouterr().out.splitlines() if "exit code 9: out of memory" in line]
    assert told
    assert "exit code 9: out of memory" in (out / "report.html").read_text()


def test_a_running_server_that_goes_away_is_told_in_one_line(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "mortal.py"
    script.write_text(MORTAL)
    port = free_port()
    process = subprocess.Popen([sys.executable, str(script), str(port), "5"], stdout=subprocess.DEVNULL)
    out, mortal = tmp_path / "out", f"http://127.0.0.1:{port}/v1"
    try:
        with serving(ScriptedUpstream(sloppy), thread=thread) as live:
            until = time.monotonic() + 20
            while not answers(port) and time.monotonic() < until:
                time.sleep(0.05)
            assert run_ab(request(out, live.base_url, mortal, seeds=6)) == 1
    finally:
        process.kill()
        process.wait()
    results = ResultStore(out).read()
    assert {item.arm for item in results.items} == {live.base_url, mortal}
    assert Delivered.error not in {turn.delivered for turn in results.turns}
    told = [line for line in capsys.readouterr().out.splitlines() if "does not answer any more" in line]
    assert told[0] == f"{mortal}: {mortal} does not answer any more: ConnectError"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"arms": ()}, "one server or more"),
        (
            {"workload": "nothing.jsonl"},
            "--workload must be worlds, workshop, corrupted or a file, got nothing.jsonl",
        ),
        ({"concurrency": "0"}, "--concurrency must be numbers from 1 to 1024"),
        ({"concurrency": "eight"}, "--concurrency must be numbers from 1 to 1024"),
        ({"arms": ("http://a", "http://b"), "workload": "corrupted"}, "arm http://a cannot be put in front"),
        ({"arms": (), "resume": Path("/no/such/folder")}, "there is no run to go on with"),
        ({"arms": ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1")}, "does not answer"),
    ],
)
def test_broken_input_is_one_line(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        run_ab(request(tmp_path, **{"arms": ("bundled", "bundled"), **changed}))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").write_text("nonsense, and more than a header of SQLite would be long")
    with pytest.raises(
        StartError, match="cannot be read or written as a file of results: file is not a database"
    ):
        run_ab(request(tmp_path, resume=tmp_path))


@pytest.mark.parametrize("turn", [1, 4])
def test_a_file_that_breaks_on_the_way_is_one_line(thread: LoopThread, tmp_path: Path, turn: int) -> None:
    asked = 0

    def choose(request: ChatRequest) -> Script:
        nonlocal asked
        asked += 1
        if asked == turn:
            for one in tmp_path.glob("results.sqlite*"):
                one.unlink()
            (tmp_path / "results.sqlite").write_text(
                "nonsense, and more than a header of SQLite would be long"
            )
        return sloppy(request)

    with arms(thread, choose) as (bare, guarded), pytest.raises(StartError) as caught:
        run_ab(request(tmp_path, bare, guarded))
    assert "results.sqlite cannot be read or written" in str(caught.value)
    assert "\n" not in str(caught.value)
