"""A short slice of `make soak-engine`, and the checks of it that must be able to fail."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from tests.bench.servers import ours, running
from tests.bench.soak import Wish, growth, judge, kills, soak
from tests.bench.wire import Answer
from tests.engine.tiny import make_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_random_requests_hang_ups_and_kills_leave_nothing_behind(tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny")
    began = time.monotonic()
    with running(ours("--log-level", "error", "--cache-dir", str(tmp_path / "cache")), model) as live:
        load_s = time.monotonic() - began
        report = asyncio.run(soak(live, model.name, 150, seed=7))
        assert report.wrong == []
        assert sum(report.kinds.values()) == 150
        assert {"answered", "left", "refused 400"} <= set(report.kinds)
        wrong, back = asyncio.run(kills(live, model.name, 2, load_s))
        assert wrong == []
        assert len(back) == 2


@pytest.mark.parametrize(
    ("wish", "answer", "fine"),
    [
        (Wish({}, None, False), Answer(0.0, status=200, finish="stop"), True),
        (Wish({}, None, False), Answer(0.0, status=200), False),
        (Wish({}, None, False), Answer(0.0, status=200, finish="stop", error="ended early"), False),
        (Wish({}, None, False), Answer(0.0, status=503, error="{}"), False),
        (Wish({}, None, True), Answer(0.0, status=400, error="{}"), True),
        (Wish({}, None, True), Answer(0.0, status=200, finish="stop"), False),
        (Wish({}, None, True), Answer(0.0, status=500, error="{}"), False),
        (Wish({}, 1, False), Answer(0.0, status=200), True),
        (Wish({}, 1, False), Answer(0.0, error="ConnectionResetError"), False),
    ],
)
def test_the_judge_tells_right_from_wrong(wish: Wish, answer: Answer, fine: bool) -> None:
    assert (judge(wish, answer)[1] == "") is fine


def test_growth_is_that_of_the_second_half() -> None:
    assert growth([1] * 50 + [100] * 50) == 1.0
    assert growth([100] * 90 + [110] * 10) == pytest.approx(1.1)
