"""The serving benchmark: figures by their definitions, a run of two servers, and broken input."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.ab.client import StreamedAnswer
from proxy.ab.serving import ServingBench, ServingFigures, figures, in_ms, per_token
from proxy.ab.serving_report import flat
from proxy.cli import bench_run
from proxy.cli.ab_run import run_ab
from proxy.cli.bench_run import BenchRequest, run_bench
from proxy.conversation.errors import StartError
from proxy.conversation.events import Usage
from proxy.conversation.request import ChatRequest
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.ab.test_processes import runs
from tests.proxy.ab.test_run import MORTAL
from tests.proxy.ab.test_run import request as ab_request
from tests.proxy.live import LoopThread, serving

FIRST = StreamedAnswer("abc", (), "stop", (0.1, 0.2, 0.4), 0.5, prompt_tokens=10, completion_tokens=5)
SECOND = StreamedAnswer("ab", (), "stop", (0.3, 0.4), 0.4, prompt_tokens=20, completion_tokens=2)
FAILED = StreamedAnswer(error="HTTP 500")


def test_figures_follow_their_definitions() -> None:
    warm = StreamedAnswer("a", (), "stop", (0.05,), 0.1, prompt_tokens=40, cached_tokens=30)
    found = figures("A", 2, 16, [FIRST, SECOND, FAILED], 2.0, [warm, FAILED])
    assert (found.completed, found.failed, found.error) == (2, 1, "HTTP 500")
    assert (found.request_throughput, found.output_throughput) == (1.0, 3.5)
    assert found.total_token_throughput == (7 + 30) / 2
    assert found.prompt_tokens == 15
    assert found.ttft_ms["mean"] == found.ttft_ms["median"] == 200.0
    assert found.e2el_ms["mean"] == 450.0
    assert found.itl_ms["median"] == 100.0  # of 100, 200 and 100
    assert found.tpot_ms["mean"] == 100.0  # (500 - 100) / 4 and (400 - 300) / 1
    assert found.reused == 0.75
    assert found.warm_ttft_ms == 50.0
    row = flat(found)
    assert row["mean_ttft_ms"] == 200.0
    assert {"p99_itl_ms", "median_tpot_ms", "p90_e2el_ms"} <= set(row)


def test_figures_of_nothing() -> None:
    found = figures("A", 1, 16, [FAILED], 1.0, [])
    assert (found.ttft_ms, found.reused, found.warm_ttft_ms, found.output_throughput) == ({}, None, None, 0.0)
    assert in_ms([]) == {}
    assert list(per_token([FAILED], [0])) == []
    assert flat(found)["mean_ttft_ms"] is None


def request(folder: Path, *servers: str, **changed: Any) -> BenchRequest:
    given: dict[str, Any] = {
        "servers": servers, "model": None, "concurrency": "1,2", "prompts": "20", "answer": 8, "requests": 3,
        "timeout": 20.0, "out": folder,
    }  # fmt: skip
    return BenchRequest(**{**given, **changed})


def answer(request: ChatRequest) -> Script:
    return Script(("one", Stall(0.01), " two"), usage=Usage(prompt_tokens=30, cached_tokens=15))


def test_a_run_writes_every_part_of_every_server(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream = ScriptedUpstream(answer)
    with serving(upstream, thread=thread) as one, serving(upstream, thread=thread) as two:
        assert run_bench(request(tmp_path, one.base_url, two.base_url)) == 0
    rows = list(csv.DictReader((tmp_path / "bench.csv").read_text().splitlines()))
    assert [(row["arm"], row["max_concurrency"]) for row in rows] == [
        (url, level) for level in ("1", "2") for url in (one.base_url, two.base_url)
    ]
    assert all(
        row["completed"] == "3" and float(row["median_e2el_ms"]) > float(row["median_ttft_ms"]) > 0
        for row in rows
    )
    assert {row["reused"] for row in rows} == {"0.5"}
    # a request that finds out what a word is in tokens, then three and three second turns for each part
    assert len(upstream.played) == 2 * (1 + 2 * (3 + 3))
    assert len({played.request.messages[0].text for played in upstream.played}) == 2 * (1 + 2 * 3)
    assert len(json.loads((tmp_path / "bench.json").read_text())["results"]) == 4
    with sqlite3.connect(tmp_path / "bench.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM results").fetchone() == (4,)
    html = (tmp_path / "bench.html").read_text()
    assert "Output tokens a second, prompts of 20" in html
    assert "50.0%" in capsys.readouterr().out


def test_an_interrupt_keeps_what_was_measured(thread: LoopThread, tmp_path: Path) -> None:
    asked = 0

    def choose(request: ChatRequest) -> Script:
        nonlocal asked
        asked += 1
        if asked == 10:
            os.kill(os.getpid(), signal.SIGINT)
            return Script((Stall(5.0), "late"))
        return answer(request)

    with serving(ScriptedUpstream(choose), thread=thread) as one:
        assert run_bench(request(tmp_path, one.base_url)) == 130
    assert len(list(csv.DictReader((tmp_path / "bench.csv").read_text().splitlines()))) == 1


def test_an_error_on_the_way_keeps_what_was_measured(
    thread: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[httpx.AsyncClient] = []

    class Failing(ServingBench):
        async def measure(self, level: int, prompt: int) -> ServingFigures:
            clients.append(self._client)
            if len(clients) == 3:
                raise StartError("no more")
            return await super().measure(level, prompt)

    monkeypatch.setattr(bench_run, "ServingBench", Failing)
    upstream = ScriptedUpstream(answer)
    with (
        serving(upstream, thread=thread) as one,
        serving(upstream, thread=thread) as two,
        pytest.raises(StartError, match="no more"),
    ):
        run_bench(request(tmp_path, one.base_url, two.base_url))
    assert len(list(csv.DictReader((tmp_path / "bench.csv").read_text().splitlines()))) == 2
    assert all(client.is_closed for client in clients)


def test_a_server_that_dies_is_told_in_one_line(
    thread: LoopThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "mortal.py"
    script.write_text(MORTAL)
    mortal = f"{sys.executable} {script} {{port}} 9"  # the first part and a little
    out = tmp_path / "out"
    with serving(ScriptedUpstream(answer), thread=thread) as live:
        assert run_bench(request(out, live.base_url, mortal, concurrency="1,2,3")) == 1
    rows = list(csv.DictReader((out / "bench.csv").read_text().splitlines()))
    assert [row["arm"] for row in rows] == [live.base_url, mortal, live.base_url, live.base_url]
    assert {row["failed"] for row in rows} == {"0"}
    told = [line for line in capsys.readouterr().out.splitlines() if "exit code 9" in line]
    why = "the server ended with exit code 9: out of memory; its further parts are left out"
    assert told == [f"{mortal}: {why}"]


def test_an_interrupt_while_servers_start_ends_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was measured, and nothing is left that runs."""
    code = (
        "import os, signal, sys, time; open(sys.argv[2], 'w').write(str(os.getpid())); "
        "os.kill(int(sys.argv[3]), signal.SIGINT); time.sleep(600)"
    )
    pid = tmp_path / "pid"
    sleeper = shlex.join([sys.executable, "-c", code, "{port}", str(pid), str(os.getpid())])
    assert run_bench(request(tmp_path / "bench", sleeper)) == 130
    assert not runs(int(pid.read_text()))
    assert run_ab(ab_request(tmp_path / "ab", sleeper, sleeper)) == 130
    assert not runs(int(pid.read_text()))
    assert not list(tmp_path.glob("*/*.html"))
    assert capsys.readouterr().out.count("stopping: what was measured is kept") == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompts": "many"}, "--prompts must be numbers from 1 to 1000000"),
        ({"concurrency": "0"}, "--concurrency must be numbers from 1 to 1024"),
        ({"servers": ("nothing",)}, "arm nothing: it is no base_url"),
        ({"out": Path("/dev/null/x")}, "cannot be written"),
    ],
)
def test_broken_input_is_one_line(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        run_bench(request(tmp_path, "bundled", **changed))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
