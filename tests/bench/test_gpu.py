"""The benchmark for a GPU, tried on a CPU: how its time is shared, what a run that is cut keeps, its bars."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.bench.gpu import SHARES, Part, allowed, cells, main, missed, play, save
from tests.bench.gpu_steps import STEPS, beside_bare, loop_bars, speed_rows
from tests.bench.measures import Rate
from tests.bench.sessions import Turn


def test_there_is_a_share_for_each_step() -> None:
    assert list(SHARES) == list(STEPS)


def test_what_a_step_leaves_over_goes_to_those_behind_it() -> None:
    names = list(SHARES)
    assert allowed(names[0], names, 570.0) == pytest.approx(570 * SHARES[names[0]] / sum(SHARES.values()))
    assert allowed(names[-1], names, 123.0) == 123.0
    left = 570.0
    for name in names:
        left -= allowed(name, names, left)
    assert left == pytest.approx(0.0)


def test_rows_are_told_from_other_lines() -> None:
    assert cells("| TTFT | 31 ms | <= 2 | yes |") == ["TTFT", "31 ms", "<= 2", "yes"]
    assert cells("| 96 MB written | 1.00 | <= 1.5, met |") == ["96 MB written", "1.00", "<= 1.5, met"]
    assert cells("| device | cpu |  |  |") == ["device", "cpu", "", ""]
    for line in ("", "BLAS: openblas", "|---|---|", "12 passed in 3 s"):
        assert cells(line) is None


def test_missed_bars_are_listed(tmp_path: Path) -> None:
    rows = [
        ["a", "1", "<= 2", "yes"],
        ["b", "3", "<= 2", "**no**"],
        ["c", "2", "<= 1.5, **missed**"],
        ["d", "9", "", ""],
    ]
    parts = [Part("loop", "done", 3.0, rows)]
    assert missed(parts) == ["loop: b", "loop: c"]
    save(tmp_path / "gpu.json", parts)
    assert json.loads((tmp_path / "gpu.json").read_text())["steps"][0]["rows"] == rows


SCRIPTS = {
    "done": "print('| a | 1 |'); print('words'); print('| b | 2 |')",
    "failed": "print('| a | 1 |'); print('| b | 2 |'); raise SystemExit('no device')",
    "cut": "import time; print('| a | 1 |'); print('| b | 2 |'); time.sleep(60)",
}


@pytest.mark.parametrize("state", SCRIPTS)
def test_a_step_keeps_what_it_has(tmp_path: Path, state: str) -> None:
    part, path, began = Part("loop"), tmp_path / "gpu.json", time.monotonic()
    play(part, [sys.executable, "-c", SCRIPTS[state]], 3.0 if state == "cut" else 60.0, path, [part])
    assert time.monotonic() - began < 50.0
    assert (part.state, part.rows) == (state, [["a", "1"], ["b", "2"]])
    assert json.loads(path.read_text())["steps"][0]["rows"] == part.rows


def turns(*ttft: float) -> list[Turn]:
    return [Turn(seconds, 1.0, 1000, 800, 24) for seconds in ttft]


@pytest.mark.parametrize(
    ("ttft", "late", "worst"),
    [
        ((0.03, 0.03, 0.03, 0.03, 0.03, 0.03), True, True),
        ((0.03, 0.03, 0.03, 0.05, 0.05, 0.05), False, True),
        ((0.03, 0.03, 0.03, 0.31, 0.03, 0.03), True, False),
    ],
)
def test_bars_of_a_loop(
    capsys: pytest.CaptureFixture[str], ttft: tuple[float, ...], late: bool, worst: bool
) -> None:
    loop_bars(turns(*ttft))
    rows = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert [row[-1] for row in rows if row] == ["yes" if met else "**no**" for met in (late, worst)]


def test_bars_beside_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    beside_bare(turns(0.03, 0.05, 0.03), [0.02, 0.02, 0.02], 200)
    beside_bare(turns(0.03, 0.05, 0.05), [0.02, 0.02, 0.02], 200)
    speed_rows("bare, 8", [(Rate(96.0, 89.0, 32), Rate(100.0, 100.0, 32))], True)
    speed_rows("bare, 4", [(Rate(50.0, 50.0, 32), Rate(100.0, 100.0, 32))], False)
    rows = [row for line in capsys.readouterr().out.splitlines() if (row := cells(line))]
    assert [row[-1] for row in rows] == ["yes", "**no**", "yes", "**no**", "", ""]
    assert rows[0][1].startswith("1.50 (1.50 to 2.50")
    assert rows[2][1] == "96 / 100 tokens a second = 0.96"


def test_a_slice_of_it_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ("machine", "cold")
    small = ("--small", "--seconds", "400", "--cold", "64")
    places = ("--folder", str(tmp_path / "models"), "--json", str(tmp_path / "gpu.json"))
    assert main([*small, *places, "--only", *only]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [(one["name"], one["state"]) for one in found["steps"]] == [(name, "done") for name in only]
    assert [len(one["rows"]) for one in found["steps"]] == [3, 3]
    assert found["missed"] == []
    assert "third cold prompt" in capsys.readouterr().out
