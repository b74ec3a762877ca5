"""A slice of `make soak`, and the checks of it that must be able to fail."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.bench.long_run.__main__ import Deed, Duration, LongRun, play, schedule
from tests.bench.long_run.agents import Agent, Tally
from tests.bench.long_run.dialects import Sdks, to_items, to_messages
from tests.bench.long_run.filling import turns_played_right
from tests.bench.long_run.fleet import ServerUnderTest, size_of
from tests.bench.long_run.samples import Row, growth
from tests.bench.long_run.verdicts import bars
from tests.proxy.upstreams.wire import Cut, Reply, WireUpstream, called, chunk, refused, told, wire_serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_slice_with_a_kill_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("run")  # as make gives it
    whole, found = play(folder, Duration(seconds=3, every_s=0.5, agents=3, pause_s=0.1, most_deeds=1))
    assert whole
    # on a busy machine not every API may have had its turn on both servers
    missed = [one for one in found if one.met is False and "in each API" not in one.name]
    assert missed == []
    told = {one.name.partition(", of ")[0]: one for one in found}
    assert told["servers that came back after what was done to them"].found.startswith("3 of 3")
    page = (folder / "report.html").read_text("utf-8")
    assert "kill -9 of the engine" in page
    assert "outage of the upstream" in page
    assert ">filled<" in page
    assert "<script" not in page
    lines = (folder / "samples.csv").read_text("utf-8").splitlines()
    assert len(lines) > 10
    assert lines[0].startswith("seconds,server,lifetime,server_memory")
    with pytest.raises(FileExistsError):
        play(folder, Duration(1, 1, 1, 1))


def test_samples_that_cannot_be_taken_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(run: LongRun, server: ServerUnderTest) -> Row:
        raise RuntimeError(f"no sample of {server.name}")

    monkeypatch.setattr(LongRun, "_sample", broken)
    with pytest.raises(ExceptionGroup):
        play(tmp_path / "run", Duration(seconds=600, every_s=0.5, agents=1, pause_s=0.1, most_deeds=1))


def test_what_fills_a_server_grows_with_each_turn() -> None:
    asked = list(turns_played_right(7))
    assert sum(bool(due.due) for due in asked) >= 20
    assert all(len(one.messages) < len(more.messages) for one, more in pairwise(asked))
    made = [call for one in asked[-1].messages for call in one.get("tool_calls") or ()]
    answered = [one["tool_call_id"] for one in asked[-1].messages if one["role"] == "tool"]
    assert len(made) == sum(len(due.due or ()) for due in asked)
    assert [call["id"] for call in made] == answered


def test_the_size_of_what_is_there_and_of_what_has_gone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"45")
    assert size_of(tmp_path) == 5
    assert size_of(tmp_path / "two") == 2
    assert size_of(tmp_path / "gone") == 0


NO_END = Reply((chunk({"content": "so far"}),))
TOO_LONG = Reply((b'data: {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}\n\n',))
NO_WORDS = Reply((b"{}",), 500)
CUT = Reply((chunk({"content": "so far"}), Cut()))
SUM_UP = "[No tool was executed. The model was asked 3 times.]"


@pytest.mark.parametrize(
    ("reply", "disturbed", "endings"),
    [
        (told("done"), False, {"answered", "turn"}),
        (NO_END, False, {"lost"}),
        (NO_END, True, {"cut"}),
        (CUT, False, {"lost"}),
        (CUT, True, {"cut"}),
        (refused(503, "later"), False, {"error"}),
        (refused(503, "later"), True, {"error, disturbed"}),
        (refused(429, "later"), False, {"error"}),
        (refused(502, "made no tool call that can be executed"), False, {"given up, as an error"}),
        (refused(404, "never"), False, {"lost"}),
        (NO_WORDS, False, {"lost"}),
        (refused(400, "long", "context_length_exceeded"), False, {"context full"}),
        (TOO_LONG, False, {"context full"}),
        (called(("nothing", "{}")), False, {"answered", "turn", "broken"}),
        (told("<tool_call>{}</tool_call>"), False, {"answered", "turn", "broken"}),
        (told(f"<tool_call>{{}}</tool_call> {SUM_UP}"), False, {"answered", "turn", "given up"}),
        (told("done", finish="tool_calls"), False, {"answered", "turn", "broken"}),
    ],
)
def test_every_way_in_which_a_request_can_end(
    tmp_path: Path, reply: Reply, disturbed: bool, endings: set[str]
) -> None:
    with wire_serving(WireUpstream(reply)) as wire:
        tally = asyncio.run(asked_once(ServerUnderTest("engine", (), tmp_path, wire.port), disturbed))
    assert {kind for _, kind in tally.endings} == endings
    bad = {"lost", "broken"} & endings
    assert bool(tally.wrong) == bool(bad)
    missed = [one.name for one in bars(tally, [], [], 0.0) if one.met is False and one.found == "1"]
    assert bool(missed) == (bool(bad) or "error" in endings)


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def asked_once(server: ServerUnderTest, disturbed: bool) -> Tally:
    """What comes of one chat completion that is streamed."""
    sdks, tally, looked = Sdks(server.port), Tally(), [0]

    def is_over() -> bool:
        """After one request: an agent looks before each conversation, before each turn, and after it."""
        looked[0] += 1
        return looked[0] > 2

    agent = Agent(0, server, sdks, "wire", tally, None, 0.0, is_over, _set())
    agent.dialects, agent.leaves = ("chat",), 0.0
    with server.disturbed("kill -9") if disturbed else contextlib.nullcontext():
        await agent.run()
    await sdks.close()
    return tally


async def test_an_answer_that_never_ends_is_lost(tmp_path: Path) -> None:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """And never answer."""
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    gone = asyncio.Event()
    silent = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    server, tally, sdks = ServerUnderTest("engine", (), tmp_path, port), Tally(), Sdks(port)
    began = time.monotonic()
    agent = Agent(0, server, sdks, "m", tally, None, 0.0, lambda: time.monotonic() > began + 0.2, _set())
    agent.dialects, agent.leaves, agent.hang_s = ("chat",), 0.0, 0.3
    await agent.run()
    await sdks.close()
    await gone.wait()
    silent.close()
    assert tally.of("lost") == 1


def noisy(an_hour: float, spread: float, seconds: float = 2700.0) -> list[tuple[float, float]]:
    """A series at 100 that grows by `an_hour` percent."""
    rng = random.Random(5)
    return [
        (at, 100 + an_hour * at / 3600 + rng.gauss(0, spread)) for at in map(float, range(0, int(seconds), 5))
    ]


@pytest.mark.parametrize(
    ("an_hour", "spread", "flat"),
    [(0.0, 0.0, True), (0.0, 8.0, True), (3.0, 2.0, True), (8.0, 2.0, False), (30.0, 8.0, False)],
)
def test_growth_is_told_from_noise(an_hour: float, spread: float, flat: bool) -> None:
    found = growth(noisy(an_hour, spread))
    assert found.is_judged
    assert found.is_flat is flat
    assert found.low <= found.an_hour <= found.high
    assert found.low <= an_hour <= found.high


def test_one_peak_is_no_growth_and_a_short_time_tells_nothing() -> None:
    points = noisy(0.0, 1.0)
    peak = [(at, value + 500 * (2600 < at < 2700)) for at, value in points]
    assert growth(peak).is_flat
    short = growth(noisy(5000.0, 0.0, 300.0))
    assert not short.is_judged
    assert short.is_flat
    handles = [(at, 18.0 + (at > 1300)) for at, _ in points]
    assert growth(handles).is_flat, "one more is none"
    assert not growth([(at, 18.0 + at // 300) for at, _ in points]).is_flat


def test_the_schedule_leaves_the_second_half_alone() -> None:
    async def deed() -> None:
        """Nothing."""

    one: list[Deed] = [deed]
    planned = list(schedule(7200.0, 1000, [one, one], [one]))
    assert len(planned) == 6 * 3
    assert planned[0][0] > 60
    assert all(before[0] < after[0] for before, after in pairwise(planned))
    assert planned[-1][0] < 3600
    assert len(list(schedule(7200.0, 1, [one, one], [one]))) == 2


def test_histories_in_the_other_apis() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    history: list[dict[str, Any]] = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "", "tool_calls": [call, {**call, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
    ]
    system, messages = to_messages(history)
    assert system == "be kind"
    assert [one["role"] for one in messages] == ["user", "assistant", "user"]
    assert [one["tool_use_id"] for one in messages[2]["content"]] == ["c1", "c2"]
    assert messages[1]["content"][0] == {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}
    items = to_items(history)
    assert [one.get("type", one.get("role")) for one in items] == [
        "system",
        "user",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
    ]
