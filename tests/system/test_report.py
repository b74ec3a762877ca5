"""The evaluation, end to end and short: a served model, every part, the sheet and its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpora.world import variants
from corpora.world.report import TITLES, main, write_loops
from corpora.world.sheet import Sheet
from tests.system.conftest import Served


def test_a_short_evaluation(server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sheet.json"
    short = ["--questions", "3", "--runs", "2", "--turns", "2", "--label", "short", "--json", str(file)]
    main(["--base-url", server.base_url, *short])
    printed = capsys.readouterr().out
    sheet = Sheet.load(file)
    assert all(any(name.startswith(title) for name in sheet.shares) for title in TITLES.values())
    assert {share.total for name, share in sheet.shares.items() if name.startswith("single turn")} == {3}
    assert len(sheet.survived) == sum(sheet.ended.values()) == 2
    assert sum(turn.asked for turn in sheet.turns) >= 2
    main(["--merge", str(file), str(file)])
    merged = capsys.readouterr().out
    assert "| measure | short |" in printed
    assert "| measure | short | short |" in merged


def test_loops_go_over_all_toolboxes_and_are_a_function_of_their_number() -> None:
    loops = write_loops(12, 3)
    assert all(one.toolbox.name.startswith("workshop_") for one in write_loops(3, 1, workload="workshop"))
    assert [loop.tasks for loop in loops] == [loop.tasks for loop in write_loops(12, 3)]
    assert len({loop.toolbox.name for loop in loops}) == min(
        12, len({t.toolbox.name for t in write_loops(40, 1)})
    )
    assert all(loop.tool_turns >= 3 for loop in loops)


def test_a_seed_of_training_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seed", "12"])
    assert "at least 900040" in capsys.readouterr().err


def test_a_server_that_is_not_there_ends_the_program() -> None:
    with pytest.raises(SystemExit, match="ConnectError"):
        main(["--base-url", "http://127.0.0.1:9/v1", "--questions", "1", "--runs", "0"])


def test_a_variant_is_made_served_evaluated_and_kept(tmp_path: Path) -> None:
    short = ["--questions", "1", "--runs", "1", "--turns", "1", "--only", "2-0.json"]
    variants.main([str(tmp_path), *short])
    sheet = Sheet.load(tmp_path / "2-0.json")
    assert sheet.label == "2 bits"
    assert (
        json.loads((tmp_path / "fortieth-tiny-2bit" / "config.json").read_text())["quantization"]["bits"] == 2
    )
    assert "| measure | 2 bits |" in (tmp_path / "tables.md").read_text()
    (tmp_path / "2-0.json").unlink()
    variants.main([str(tmp_path), *short])
    assert Sheet.load(tmp_path / "2-0" / "0.json").survived == Sheet.load(tmp_path / "2-0.json").survived
    Sheet("kept").save(tmp_path / "2-0.json")
    variants.main([str(tmp_path), *short])
    assert Sheet.load(tmp_path / "2-0.json") == Sheet("kept")
