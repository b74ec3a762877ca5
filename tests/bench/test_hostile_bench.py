"""A short slice of `make bench-hostile`, without its bars of time, and the checks of it that must be able to
fail.
"""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.bench import hostile
from tests.bench.hostile import BUNDLED, Row, kinds, table
from tests.bench.servers import ours, running


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_heavy_requests_are_answered_and_leave_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "REST_S", 0.2)
    # at a tenth of their sizes some of them would fit into the model's whole context
    with running(ours("--cache-dir", "off", "--context-limit", "8192"), BUNDLED) as live:
        rows = asyncio.run(table(live, kinds(0.1), 1, alone=2))
    assert {row.name: set(row.statuses) for row in rows} == {row.name: {400} for row in rows}
    assert [row.name for row in rows if row.grown > 1.5] == []
    assert all(row.beside for row in rows)


GOOD = {
    "statuses": [400],
    "took": [0.5],
    "alone": [0.1],
    "beside": [0.15],
    "bytes_before": 100,
    "bytes_after": 105,
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ""),
        ({"statuses": [500]}, "statuses"),
        ({"took": [1.5]}, "a refusal took"),
        ({"took": [1.5], "statuses": [200]}, ""),
        ({"beside": [0.25]}, "the chat took"),
        ({"bytes_after": 120}, "the memory"),
    ],
)
def test_what_counts_as_too_much(changed: dict[str, object], told: str) -> None:
    missed = Row("x", **{**GOOD, **changed}).missed()  # type: ignore[arg-type]
    assert len(missed) == bool(told)
    assert told in "".join(missed)
