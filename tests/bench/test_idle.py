"""A short slice of `make bench-idle`, and the checks of it that must be able to fail."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from typing import Any

import pytest

from engine.resolve import MODELS
from tests.bench import idle
from tests.bench.idle import MODEL, WORK, lasting, missed, most, rests, with_engine
from tests.bench.idle import Row as Measured
from tests.bench.resting import MOST_WAKEUPS, Held, Rest, heaps_of_threads, pids
from tests.bench.servers import running
from tests.bench.wire import ask, body

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SHORT = ("one request with a deadline of 6 s", "aborts in each stage", "health, metrics, sessions")
REST_S = 3.0  # the deadline of 6 s passes while the second round is watched
A_CORE = 0.5  # a tick of the clock is 10 ms: what is told apart here is rest and a loop without a pause


def test_after_work_both_processes_rest_as_they_did_before() -> None:
    work = {name: WORK[name] for name in SHORT}
    with tempfile.TemporaryDirectory() as folder, running(with_engine(folder), MODELS / MODEL) as live:
        # the threads of attention on a CPU come with the first long prompt, which the aborts may cut off
        asyncio.run(ask(live.port, body("long " * 2000, 2, MODEL)))
        first = [row for _ in range(2) for row in asyncio.run(rests(live, work, 0.2))]
        second = asyncio.run(rests(live, work, REST_S, most(first)))
        heaps = [heaps_of_threads(pid) for pid in pids(live)]
    assert max(row.rest.cpu for row in second) <= A_CORE
    assert max(row.rest.wakeups for row in second) <= MOST_WAKEUPS
    assert heaps == [0, 0]
    assert [set(row.missed) - {"not quiet"} for row in second] == [set()] * len(second)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts the heaps of glibc")
def test_heaps_of_threads_are_counted() -> None:
    code = """if True:
        import sys, threading
        threads = [threading.Thread(target=sys.stdin.read) for _ in range(3)]
        for thread in threads:
            thread.start()
        print("ready", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert heaps_of_threads(process.pid) >= 1
        process.communicate()


HELD = Held(threads=20, handles=30, memory=100 << 20)
REST = Rest(cpu=0.002, wakeups=5.0, held=HELD)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (REST, ()),
        (replace(REST, cpu=0.02), ("not quiet",)),
        (replace(REST, wakeups=11.0), ("not quiet",)),
        (replace(REST, held=replace(HELD, threads=22)), ("threads",)),
        (replace(REST, held=replace(HELD, handles=33, memory=106 << 20)), ("handles", "memory")),
        (replace(REST, held=Held(1, 1, 1)), ()),
    ],
)
def test_the_judge_tells_rest_from_work(rest: Rest, told: tuple[str, ...]) -> None:
    assert missed(rest, HELD) == told
    assert most([Measured("a", rest, ()), Measured("b", REST, ())]).threads == max(20, rest.held.threads)


NOBODY: Any = None  # a server that is not asked


def test_memory_beyond_its_bar_is_looked_at_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "SPARE_S", 0.0)
    monkeypatch.setattr(idle, "SETTLE_S", 0.0)
    monkeypatch.setattr(idle, "pids", lambda _: [os.getpid()])
    assert asyncio.run(lasting(NOBODY, REST, HELD)) is REST
    grown = replace(REST, held=replace(HELD, memory=1 << 40))
    assert 0 < asyncio.run(lasting(NOBODY, grown, HELD)).held.memory < 1 << 40
    small = replace(HELD, memory=1)
    assert "memory" in missed(asyncio.run(lasting(NOBODY, grown, small)), small)
