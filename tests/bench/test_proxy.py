"""A slice of `make soak-proxy` and `make bench-proxy`, and their own checks, which must be able to fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.proxy import CALL, Measured, bars, measure, quantile, table
from tests.bench.proxy_arms import Arm, fortieth, litellm, upstream
from tests.bench.proxy_client import Connection
from tests.bench.proxy_soak import Got, Wish, ask, judge, read, settings, soak
from tests.bench.proxy_upstream import Play

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LITELLM = Path(os.environ.get("RIVALS", "/tmp/fortieth-rivals")) / "litellm" / "bin" / "python"
TEXT = Play(mark="k1k", pieces=2)
CALLS = replace(TEXT, calls=1)
CUT = replace(TEXT, fault="cut", at=1)
RIGHT = ("get_weather", CALLS.arguments(0, True))
SAID = "k1k.0 k1k.1 "


@contextlib.contextmanager
def chain(folder: Path) -> Iterator[tuple[Arm, Arm]]:
    """The upstream and fortieth in front of it, each a process."""
    with upstream() as behind, fortieth(behind, config=settings(folder, behind)) as proxy:
        yield behind, proxy


def test_many_streams_with_faults_then_a_killed_upstream(tmp_path: Path) -> None:
    with chain(tmp_path) as (behind, proxy):
        report = asyncio.run(soak(proxy, at_once=16, seconds=5, seed=3))
        assert report.wrong == []
        assert report.kinds["answered"]
        assert report.sizes
        found = measure([behind, proxy], 1, lambda to: [to.whole(CALL)])
        assert set(found.rounds) == {"direct", "fortieth"}
        with contextlib.closing(Connection(proxy.port)) as to:
            assert len(to.stamps(Play(pieces=3, gap_s=0.01, stamped=True))) == 3
        for wish, got in asyncio.run(killed(behind, proxy)):
            assert judge(wish, got) == ("cut: error", "")


async def killed(behind: Arm, proxy: Arm) -> list[tuple[Wish, Got]]:
    """Streams and whole answers whose upstream dies in the middle, with what their clients got."""
    # what the judge expects of a cut stream is expected here
    plays = [Play(mark=f"k{n}k", pieces=200, gap_s=0.1, calls=n % 2) for n in range(10)]
    asked = [Wish(play, stream=n < 8) for n, play in enumerate(plays)]
    asking = [asyncio.create_task(ask(proxy.port, wish)) for wish in asked]
    await asyncio.sleep(3)
    os.kill(behind.pid, signal.SIGKILL)
    gots = await asyncio.gather(*asking)
    return [
        (replace(wish, play=replace(wish.play, fault="cut")), got)
        for wish, got in zip(asked, gots, strict=True)
    ]


@pytest.mark.skipif(not LITELLM.exists(), reason="needs litellm[proxy] in an environment of its own")
def test_fortieth_behind_litellms_proxy(tmp_path: Path) -> None:
    """Calls, one of them mended by asking again, text, and a refusal that means it."""
    with chain(tmp_path) as (_, proxy), litellm(LITELLM, proxy) as front:
        with contextlib.closing(Connection(front.port)) as to:
            to.whole(CALL)
            to.whole(replace(CALL, wrong="once"))
            assert len(to.stamps(Play(pieces=3, gap_s=0.01, stamped=True))) == 3
        got = asyncio.run(ask(front.port, Wish(replace(TEXT, fault="status"), stream=False)))
        assert (got.status, got.errors) == (429, 1)
        for stream in (False, True):
            wish = Wish(replace(CALLS, wrong="once"), stream)
            assert judge(wish, asyncio.run(ask(front.port, wish))) == ("reasked", "")


@pytest.mark.parametrize(
    ("wish", "got", "fine"),
    [
        (Wish(TEXT, True), Got(200, SAID, finish="stop"), True),
        (Wish(TEXT, True), Got(200, SAID), False),
        (Wish(TEXT, True), Got(200, "k1k.0 ", finish="stop"), False),
        (Wish(TEXT, True), Got(200, SAID, finish="stop", marks={"k1k", "k2k"}), False),
        (Wish(TEXT, True), Got(200, SAID, broken="TimeoutError"), False),
        (Wish(TEXT, True), Got(503, errors=1), False),
        (Wish(TEXT, True, leave_after=9), Got(marks={"k1k"}), True),
        (Wish(TEXT, True, leave_after=9), Got(marks={"k2k"}), False),
        (Wish(CALLS, False), Got(200, SAID, [RIGHT], "tool_calls"), True),
        (Wish(CALLS, False), Got(200, SAID, [RIGHT, RIGHT], "tool_calls"), False),
        (Wish(CALLS, False), Got(200, SAID, [], "stop"), False),
        (Wish(replace(CALLS, wrong="always"), True), Got(200, SAID + "[The call of ", finish="stop"), True),
        (Wish(replace(CALLS, wrong="always"), True), Got(200, SAID, [RIGHT], "tool_calls"), False),
        (Wish(CUT, True), Got(200, "k1k.0 ", errors=1), True),
        (Wish(CUT, True), Got(503, errors=1), True),
        (Wish(CUT, True), Got(200, "k1k.0 ", errors=2), False),
        (Wish(CUT, True), Got(200, "something else", errors=1), False),
        (Wish(CUT, True), Got(200, "k1k.0 ", finish="stop"), False),
        (Wish(CUT, False), Got(503, errors=1), True),
        (Wish(CUT, False), Got(200, errors=1), False),
    ],
)
def test_the_judge_tells_right_from_wrong(wish: Wish, got: Got, fine: bool) -> None:
    assert (judge(wish, got)[1] == "") is fine


def test_nothing_may_come_behind_the_end() -> None:
    event = b'data: {"choices": [{"delta": {"content": "k1k"}, "finish_reason": "stop"}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    got = Got()
    read(head + event, got)
    assert (got.status, got.text, got.finish, got.marks) == (200, "k1k", "stop", {"k1k"})
    with pytest.raises(ValueError, match="behind the end"):
        read(head + event + event, Got())


def test_the_bars_compare_what_is_added() -> None:
    call, text = Measured(), Measured()
    for found, ours, theirs in ((call, 3.0, 7.0), (text, 1.5, 3.0)):
        for _ in range(3):
            found.note("direct", [1.0])
            found.note("fortieth", [ours])
            found.note("litellm", [theirs])
    assert [round(value, 3) for _, value, _ in bars(call, text)] == [500.0, 0.333, 0.25]
    assert "| fortieth | 3000.00 |" in table("x", call)
    assert quantile([3, 1, 2], 0.5) == 2
