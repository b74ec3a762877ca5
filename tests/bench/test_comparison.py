"""The parts of `make comparison`, how they are gone on with, and the page that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.ab.arms import read_arm
from proxy.ab.measured import Delivered, MeasuredItem, MeasuredTurn
from proxy.ab.plan import RunPlan
from proxy.ab.store import NAME, ResultStore
from tests.bench.comparison.__main__ import (
    GO_ON,
    TRIES,
    Runner,
    State,
    play,
    play_all,
    told,
    write,
)
from tests.bench.comparison.page import conversations_so_far, write_part, write_summary
from tests.bench.comparison.parts import Part, missing_arms, parts

TURNS = 40


def every(tmp_path: Path) -> tuple[Part, ...]:
    """The parts where only vllm-mlx is installed beside fortieth."""
    program = tmp_path / "rivals" / "vllm-mlx" / "bin" / "vllm-mlx"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("")
    program.chmod(0o755)
    return parts(tmp_path / "rivals", None)


def test_the_parts_are_runs_of_ab_and_the_one_that_tells_most_is_first(tmp_path: Path) -> None:
    found = every(tmp_path)
    assert [part.key for part in found[:3]] == ["bundled-4-1.5-8", "corrupted", "bundled-4-1.5-1"]
    assert len({part.key for part in found}) == len(found) == 15
    assert [part.key for part in found if part.why_not] == ["other-0.7-8", "other-0.7-1"]
    assert missing_arms(found[0]) == ["rapid-mlx"]
    command = found[0].command(tmp_path / "out", going_on=False)
    assert command[4:8] == [f"bundled:bits=4,guard={mode}" for mode in ("full", "repair", "constrain", "off")]
    assert command[command.index("--concurrency") + 1] == "8"
    for part in found:
        for arm in part.present if not part.why_not else ():
            read_arm(arm.arm, arm.arm, None)  # as ab will, which refuses what it does not know


def recorded(codes: Sequence[int]) -> tuple[list[Sequence[str]], Runner]:
    """Commands that were run, and what runs them: it begins a file of results, and ends with a code."""
    ran: list[Sequence[str]] = []
    left = list(codes)

    def runner(command: Sequence[str], seconds: float) -> int:
        ran.append(command)
        if "--out" in command:
            (Path(command[command.index("--out") + 1]) / NAME).write_text("")
        return left.pop(0)

    return ran, runner


@pytest.mark.parametrize(
    ("codes", "finished", "tries"),
    [
        ([0], True, 0),
        ([130], False, 0),
        ([130, 130, 0], True, 0),
        ([1], False, 1),
        ([1, 0], True, 1),
        ([1, 130, 1, 1], True, TRIES),
    ],
)
def test_a_part_is_gone_on_with_until_it_is_finished(
    codes: list[int], finished: bool, tries: int, tmp_path: Path
) -> None:
    part = every(tmp_path)[0]
    ran, runner = recorded(codes)
    for _ in codes:
        state = play(part, tmp_path / part.key, 60.0, runner)
    assert (state.finished, state.tries) == (finished, tries)
    assert State.of(tmp_path / part.key) == state
    assert "--out" in ran[0]
    assert all(list(command[-2:]) == ["--resume", str(tmp_path / part.key)] for command in ran[1:])
    assert state.arms["bundled:bits=4,guard=full"] == "fortieth full"


def test_finished_parts_and_those_without_a_model_are_not_played(tmp_path: Path) -> None:
    chosen = every(tmp_path)[:5]
    State(finished=True).keep(tmp_path / chosen[0].key)
    ran, runner = recorded([0] * 9)
    played = [part.key for part in play_all(chosen, tmp_path, 1.0, runner)]
    assert played == ["corrupted", "bundled-4-1.5-1"]
    assert len(ran) == 2
    assert list(play_all(chosen, tmp_path, 0.0, runner)) == []
    assert "finished" in told(chosen[0], tmp_path)
    assert "SECOND" in told(chosen[3], tmp_path)


def turn(arm: str, seed: int, number: int, kind: Delivered, seconds: float) -> MeasuredTurn:
    example = "" if kind is Delivered.valid else "x"
    return MeasuredTurn(
        arm, 1, f"seed {seed}", number, number, True, kind, "a flaw", kind is Delivered.valid, 0.0,
        seconds, seconds * 2, prompt_tokens=100, cached_tokens=90, example=example,
    )  # fmt: skip


def fill(
    part: Part,
    folder: Path,
    breaks: dict[str, Delivered],
    slow: dict[str, float],
    played: Callable[[str], int] = lambda name: 20,
) -> None:
    """A run of the part: arms that break the thirtieth turn of each loop, and their first tokens.

    played: how many loops of 20.
    """
    arms = tuple(arm.arm for arm in part.present)
    store = ResultStore.create(folder, RunPlan(arms, seeds=20, turns=TURNS, levels=(1,)).to_json())
    store.keep("command", f"fortieth ab --model {folder}/model-4bit")
    store.keep("machine", "a machine")
    store.keep("began", "2026-11-29T01:00:00")
    versions = {"mlx": "1.2.3"}
    facts = [
        {
            "label": arm.arm,
            "base_url": "",
            "model": "m",
            "command": f"{folder}/bin/{arm.name} serve",
            "versions": versions,
        }
        for arm in part.present
    ]
    store.keep("facts", facts)
    store.keep("notes", [f"{arms[-1]} was lost: out of memory"])
    for arm in part.present:
        for seed in range(played(arm.name)):
            kinds = {30: breaks.get(arm.name, Delivered.valid)}
            turns = [
                turn(arm.arm, seed, number, kinds.get(number, Delivered.valid), slow.get(arm.name, 0.1))
                for number in range(1, TURNS + 1)
            ]
            item = MeasuredItem(arm.arm, 1, f"seed {seed}", seed, 0.0, 1.0, "done", "", 4, 4)
            store.add(item, turns)
    names = {arm.arm: arm.name for arm in part.present}
    finished = all(played(name) == 20 for name in names.values())
    State(arms=names, seconds=60.0, finished=finished).keep(folder)


def test_the_page_tells_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    found = every(tmp_path)
    one = found[2]  # of several at a time there would be too few rounds to tell times apart
    fill(one, tmp_path / one.key, {"vllm-mlx": Delivered.call_text}, {"vllm-mlx": 0.05})
    write(found, tmp_path, tmp_path / "page" / "comparison.md")
    summary = (tmp_path / "page" / "comparison.md").read_text("utf-8")
    assert f"- {found[1].title}\n" in summary
    assert f"- {found[3].title} (its model is not on this machine (SECOND))\n" in summary
    assert f"(comparison/{one.key}.md)" in summary
    page = (tmp_path / "page" / "comparison" / f"{one.key}.md").read_text("utf-8")
    assert (
        "| | fortieth full | fortieth repair | fortieth constrain | fortieth off | mlx_lm.server | vllm-mlx |"
        in page
    )
    row = next(line for line in page.splitlines() if line.startswith("| loops that came unbroken to turn 40"))
    assert row in summary
    assert row.count("20 of 20") == 5
    assert row.count("0 of 20 (0.0%") == 1
    assert "fortieth full delivers 0 calls against their schema: met." in page
    for missed in (
        "intervals apart: **missed** beside mlx_lm.server.",
        "in the last 10 turns: **missed**: vllm-mlx begins sooner.",
    ):
        assert missed in page
        assert missed in summary
    assert "vllm-mlx delivers more broken turns than fortieth full: 20 of 800 against 0 of 800." in page
    better = page.partition("Where another arm is better than fortieth full:")[2].partition("Not installed")[
        0
    ]
    assert "vllm-mlx begins to answer sooner than fortieth full" in better
    assert "broken turns" not in better
    assert "Not installed where this was measured: rapid-mlx." in page
    assert "vllm-mlx was lost: out of memory." in page
    assert "`vllm-mlx serve`" in page
    assert "mlx 1.2.3" in page
    assert str(tmp_path) not in page


def test_a_part_that_was_measured_on_another_day_stays(tmp_path: Path) -> None:
    found = every(tmp_path)
    page = tmp_path / "docs" / "comparison.md"
    fill(found[0], tmp_path / "monday" / found[0].key, {}, {})
    write(found, tmp_path / "monday", page)
    fill(found[2], tmp_path / "tuesday" / found[2].key, {}, {})
    write(found, tmp_path / "tuesday", page)
    summary = page.read_text("utf-8")
    assert [f"## {part.title}\n" in summary for part in found[:4]] == [True, False, True, False]
    assert summary.index(found[0].title) < summary.index(found[2].title) < summary.index(found[1].title)


def test_a_part_may_be_told_of_before_its_end(tmp_path: Path) -> None:
    """What all arms have played that have played enough, and that it is not all."""
    found, page = every(tmp_path), tmp_path / "docs" / "comparison.md"
    loops = {"fortieth full": 20, "mlx_lm.server": 6}
    broken = {"vllm-mlx": Delivered.call_text}
    fill(found[0], tmp_path / found[0].key, broken, {}, lambda name: loops.get(name, 9))
    fill(found[2], tmp_path / found[2].key, {}, {}, lambda name: 20 if name == "fortieth full" else 6)
    write(found, tmp_path, page)
    assert not list((tmp_path / "docs" / "comparison").iterdir())
    write(found, tmp_path, page, so_far=True)
    assert [file.stem for file in (tmp_path / "docs" / "comparison").iterdir()] == [found[0].key]
    summary = page.read_text("utf-8")
    told = "Not played to its end yet: 9 of 20 loops on each arm.\n\n| | fortieth full"
    assert told in summary
    text = (tmp_path / "docs" / "comparison" / f"{found[0].key}.md").read_text("utf-8")
    assert told in text
    assert all("\n\nNot played enough yet: mlx_lm.server.\n" in page for page in (text, summary))
    assert text.count("mlx_lm.server") == 3, "there, and in how it was started"
    assert "9 of 360 (" in summary
    assert f"- {found[2].title}\n" in summary
    assert conversations_so_far(tmp_path / "nowhere") == 0


def test_a_page_of_nothing_says_so_and_no_path_of_a_machine_is_let_in(tmp_path: Path) -> None:
    found = every(tmp_path)
    told = write_summary(found, {}, "x")
    bundled = [part.title for part in found if part.title.startswith("The bundled model")]
    assert len(bundled) == 12
    assert [told.count(f"\n- {title}\n") for title in bundled] == [1] * 12
    folder = tmp_path / found[0].key
    fill(found[0], folder, {}, {})
    first = replace(found[0], title="measured in /home/somebody")
    with pytest.raises(ValueError, match="/home/somebody"):
        write_part(first, folder, State.of(folder).arms)
    assert GO_ON == 75
