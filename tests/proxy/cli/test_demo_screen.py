"""What the demo shows of each kind of turn, on a terminal and in a pipe."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from corpora.world import TOOLBOXES
from corpora.world.base import Call
from corpora.world.driver import Answer, Ended, Run, Step
from corpora.world.score import Emitted, Kind
from corpora.world.script import write_script
from proxy.cli.demo import Demo, open_console, write_loop
from proxy.cli.demo_record import write_svg
from proxy.cli.demo_screen import PlayedArm, Screen, SeenTurn
from proxy.conversation.events import FinishReason, Usage
from proxy.conversation.verdict import GuardMode, Verdict
from proxy.records.request_record import AttemptRecord, Ending, RequestRecord, Timings
from repair.types import Fix, FixKind, Problem
from repair.types import Verdict as TurnVerdict

SCRIPT = write_script(Random(3), TOOLBOXES[0], 4)
DUE = (Call("look", {}),)
FIX = Fix(FixKind.to_integer, "/amount", '"5"', "5")
PROBLEM = Problem("/item", "required", "item is missing")


def account(
    verdict: Verdict, *attempts: AttemptRecord, fixes: tuple[Fix, ...] = (), **more: Any
) -> RequestRecord:
    return RequestRecord(
        request_id="r",
        model="tiny",
        session="s",
        turn=1,
        mode=GuardMode.full,
        stream=False,
        format="hermes",
        verdict=verdict,
        ending=Ending.finished,
        reason=FinishReason.tool_calls,
        attempts=attempts,
        calls=1,
        fixes=fixes,
        problems=more.pop("problems", ()),
        usage=Usage(),
        timings=Timings(),
        **more,
    )


def step(kind: Kind, flaw: str = "", **more: Any) -> Step:
    calls = (Emitted("c", "look", '{"at": "[red]salt[/red]"}', {}, flaw),) if more.get("called") else ()
    answer = Answer({"content": more.get("content", "")}, "stop", 9, 9)
    return Step(0, more.get("turn", 1), DUE, kind, flaw, calls, more.get("ran", ()), answer)


TRIED = AttemptRecord(TurnVerdict.reask, problems=(PROBLEM,))
CLEAN = AttemptRecord(TurnVerdict.clean)

STEPS: dict[str, tuple[Step, SeenTurn, list[str], list[str]]] = {
    "exact": (
        step(Kind.exact, called=True),
        SeenTurn(("raw",), account(Verdict.clean, CLEAN)),
        ["1 + exact", "look {"],
        ["raw", "[guard"],
    ),
    "markup_is_shown_as_it_is": (step(Kind.exact, called=True), SeenTurn(("raw",)), ["[red]salt[/red]"], []),
    "invalid": (
        step(Kind.invalid, "missing argument", called=True, ran=('{"error": "no"}',)),
        SeenTurn(("<tool_call>raw",), account(Verdict.clean, CLEAN)),
        ["x invalid: missing argument\n", "emitted   <tool_call>raw", "delivered look {", '{"error": "no"}'],
        ["[guard"],
    ),
    "repaired": (
        step(Kind.exact, called=True),
        SeenTurn(("<tool_call>raw",), account(Verdict.repaired, CLEAN, fixes=(FIX, FIX))),
        [
            "+ exact  [guard: repaired, 2 fixes]\n",
            "emitted   <tool_call>raw\n",
            'guard     to_integer at /amount: "5" -> 5\n',
            'delivered look {"at": ',
        ],
        [],
    ),
    "reasked": (
        step(Kind.exact, called=True),
        SeenTurn(("first try", "second try"), account(Verdict.reasked, TRIED, CLEAN)),
        ["[guard: re-asked 1x]", "first try", "second try", "item is missing"],
        [],
    ),
    "constrained": (
        step(Kind.exact, called=True),
        SeenTurn(("raw",), account(Verdict.clean, CLEAN, drifted=True)),
        ["[guard: decoding constrained]"],
        [],
    ),
    "refused": (
        step(Kind.refused, "refused by the guard", content="<tool_call>"),
        SeenTurn(("<tool_call>",), account(Verdict.failed, TRIED, problems=(PROBLEM,))),
        [
            "x refused: refused by the guard",
            "[guard: nothing executed]",
            "item is missing",
            "delivered <tool_call>",
        ],
        [],
    ),
}


NOTHING = "No call broke in this loop"


def shown(*steps: tuple[Step, SeenTurn], terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=150, force_terminal=terminal, color_system=None, highlight=False)
    screen = Screen(console, SCRIPT, "tiny, seed 7")
    with screen.loop("full"):
        for one, seen in steps:
            screen.show(SCRIPT.tasks[0], one, seen)
    return out.getvalue()


@pytest.mark.parametrize("case", STEPS.values(), ids=STEPS)
def test_a_turn_is_shown(case: tuple[Step, SeenTurn, list[str], list[str]]) -> None:
    one, seen, holds, lacks = case
    text = shown((one, seen))
    assert all(part in text for part in holds), text
    assert not any(part in text for part in lacks), text


def test_the_score_runs_along() -> None:
    both = [(STEPS[name][0], STEPS[name][1]) for name in ("repaired", "invalid", "reasked")]
    line = (
        f"guard full: 3 of {SCRIPT.tool_turns} tool turns, 2 valid, 2 exactly right, 1 repaired, 1 re-asked"
    )
    assert line in shown(*both)
    assert line in shown(*both, terminal=True)


def arms() -> list[PlayedArm]:
    """The same loop twice: a call that broke; one that was asked for again, one that was refused, and one
    that was only decoded under constraint.
    """
    off = Run(SCRIPT, steps("exact", "invalid"), Ended.context, "too long", {})
    on = Run(SCRIPT, steps("exact", "reasked", "refused", "constrained"), Ended.served, "", SCRIPT.end)
    return [
        PlayedArm("off", off, tuple(STEPS[name][1] for name in ("exact", "invalid"))),
        PlayedArm(
            "full", on, tuple(STEPS[name][1] for name in ("exact", "reasked", "refused", "constrained"))
        ),
    ]


def steps(*names: str) -> tuple[Step, ...]:
    return tuple(STEPS[name][0] for name in names)


def test_the_picture_shows_what_broke_and_how_it_was_mended(tmp_path: Path) -> None:
    write_svg(tmp_path / "demo.svg", "tiny, seed 7", arms())
    drawn = (tmp_path / "demo.svg").read_text("utf-8")
    assert "url(http" not in drawn.replace('"', ""), "a picture loads nothing"
    root = ElementTree.fromstring(drawn)
    text = "".join("".join(root.itertext()).split())  # without the spaces, which stand for the columns
    for part in (
        "All names in it are invented.",
        "guard off: 1 broken turn handed to the client",
        "turn 1: invalid: missing argument",
        "guard full: 1 broken turn mended, 1 broken turn refused, 0 broken turns handed to the client",
        "re-asked 1x",
        "item is missing",
        "delivered look",
        "broken turns handed to the client",
    ):
        assert part.replace(" ", "") in text, part
    write_svg(tmp_path / "again.svg", "tiny, seed 7", arms())
    assert (tmp_path / "again.svg").read_text("utf-8") == drawn


def test_the_comparison_counts_each_loop() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=150), SCRIPT, "tiny, seed 7")
    screen.compare(arms())
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for cells in (line.strip("│┃\n ").split("│") for line in out.getvalue().splitlines())
    }
    assert rows["schema-valid calls"] == ["1 (50%)", "3 (75%)"]
    assert rows["turns refused"] == ["0", "1"]
    assert rows["broken turns handed to the client"] == ["1", "0"]
    assert rows["turns re-asked"] == ["0", "1"]
    assert rows["turns before the first broken one"] == ["1", "2"]
    assert "guard off ended early: too long" in out.getvalue()
    assert NOTHING not in out.getvalue()


def test_it_says_where_the_guard_had_nothing_to_do() -> None:
    out = io.StringIO()
    run = Run(SCRIPT, (STEPS["exact"][0],), Ended.served, "", SCRIPT.end)
    played = [PlayedArm(mode, run, (STEPS["exact"][1],)) for mode in ("off", "full")]
    Screen(Console(file=out, width=150), SCRIPT, "tiny, seed 7").compare(played)
    assert NOTHING in out.getvalue()


def test_a_seed_is_a_loop() -> None:
    assert write_loop(Demo(5, 2)).tasks == write_loop(Demo(5, 2)).tasks
    assert write_loop(Demo(5, 2)).tasks != write_loop(Demo(5, 3)).tasks
    assert write_loop(Demo(5, 2)).tool_turns >= 5
    workshop = write_loop(Demo(5, 2, workload="workshop"))
    assert workshop.toolbox.name.startswith("workshop_")
    assert workshop.tool_turns >= 5


def test_a_pipe_is_wide_and_plain() -> None:
    console = open_console(plain=True)
    assert (console.is_terminal, console.color_system) == (False, None)
