"""Score sheets add up runs and marks, survive a file, and stand side by side in tables."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from corpora.exam import mark
from corpora.questions import unseen
from corpora.world.base import Call
from corpora.world.driver import Answer, Ended, Run, Step
from corpora.world.plot import (
    PROBED,
    Axis,
    Series,
    learning_chart,
    line_chart,
    loss_chart,
    main,
    validity_chart,
)
from corpora.world.score import Kind
from corpora.world.script import write_script
from corpora.world.sheet import (
    Share,
    Sheet,
    added,
    exam_shares,
    loop_sheet,
    to_markdown,
)
from tests.corpora.world.larder import LARDER

SCRIPT = write_script(Random(1), LARDER, 3, talk_share=0.0)
ONE = Call("count_item", {"item": "tea"})
ANSWER = Answer({}, "stop", 1, 1)
TEXT = {"content": '{"name": "count_item", "arguments": {}}'}
TOLD = Answer(TEXT, "stop", 1, 1, "failed")


def step(turn: int, kind: Kind, flaw: str = "", due: int = 1, answer: Answer = ANSWER) -> Step:
    return Step(0, turn, (ONE,) * due, kind, flaw, (), (), answer)


RUNS = (
    Run(
        SCRIPT,
        (
            step(1, Kind.exact),
            step(1, Kind.spoken, due=0),
            step(2, Kind.wrong, "wrong value"),
            step(3, Kind.malformed, "closing marker lost", answer=Answer(TEXT, "stop", 1, 1)),
        ),
        Ended.served,
        "",
        SCRIPT.start,
    ),
    Run(
        SCRIPT,
        (
            step(1, Kind.exact, due=2),
            step(1, Kind.needless, due=0, answer=TOLD),
            step(2, Kind.exact),
        ),
        Ended.context,
        "too long",
        SCRIPT.start,
    ),
)
SHEET = loop_sheet("4 bits", RUNS)


def test_loops_add_up() -> None:
    assert SHEET.shares == {
        "loop: tool turns schema-valid": Share(4, 5),
        "loop: tool turns exactly right": Share(3, 5),
        "loop: turns of 2 or 3 calls exactly right": Share(1, 1),
        "loop: turns that need no call, no call": Share(1, 2),
        "loop: turns that end with `stop` in the text of a call": Share(2, 7),
        "loop: the same, and no header says that a call failed": Share(1, 7),
        "loop: tasks done": Share(0, 2 * len(SCRIPT.tasks)),
        "loop: whole loops done": Share(0, 2),
    }
    assert [(t.turn, t.asked, t.valid, t.exact) for t in SHEET.turns] == [
        (1, 2, 2, 2),
        (2, 2, 2, 1),
        (3, 1, 0, 0),
    ]
    assert SHEET.flaws == {"wrong: wrong value": 1, "malformed: closing marker lost": 1}
    assert SHEET.survived == (2, 2)
    assert SHEET.ended == {"served": 1, "context": 1}
    assert added("4 bits", [loop_sheet("one", [run]) for run in RUNS]) == SHEET


def test_single_turns_add_up() -> None:
    question = unseen(1)[0]
    marks = [mark(question, Answer({"content": "No."}, "stop", 1, 1))]
    assert exam_shares("x", marks) == {"x: schema-valid": Share(0, 1), "x: exactly right": Share(0, 1)}
    idle = replace(question, expected=())
    marks = [mark(idle, Answer({"content": "No."}, "stop", 1, 1))]
    assert exam_shares("x", marks) == {"x: no call": Share(1, 1)}


def test_a_sheet_survives_its_file(tmp_path: Path) -> None:
    SHEET.save(tmp_path / "sheet.json")
    assert Sheet.load(tmp_path / "sheet.json") == SHEET


def test_sheets_stand_side_by_side() -> None:
    short = Sheet("8 bits", {"single: exactly right": Share(9, 10)})
    text = to_markdown([SHEET, short])
    assert "| measure | 4 bits | 8 bits |" in text
    assert re.search(r"\| loop: tool turns schema-valid \| 80\.0% \(.*\) of 5 \| - \|", text)
    assert re.search(r"\| single: exactly right \| - \| 90\.0% \(.*\) of 10 \|", text)
    assert "| 1 to 10 | 80.0% / 60.0% of 5 | - |" in text
    assert "11 to 20" not in text
    assert "| malformed: closing marker lost | 1 | 0 |" in text
    assert "| loops, and how they ended | 1 served, 1 context | - |" in text


def lines_of(chart: str) -> list[list[tuple[float, float]]]:
    """The coordinates of the drawn series."""
    paths = [
        element.attrib["d"]
        for element in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}path")
        if element.attrib.get("fill") == "none"
    ]
    return [[(float(x), float(y)) for x, y in (p.split() for p in path[1:].split("L"))] for path in paths]


def test_a_chart_draws_where_the_values_are() -> None:
    axis = Axis("x & y", 0, 10, 5)
    chart = line_chart("a <title>", [Series("one", ((0, 0), (5, 5), (10, 20)))], axis, axis)
    ((left, bottom), (middle, half), (right, top)) = lines_of(chart)[0]
    assert left < middle < right
    assert bottom > half > top
    assert middle == pytest.approx((left + right) / 2)
    assert half == pytest.approx((bottom + top) / 2)
    assert "a &lt;title&gt;" in chart


def test_validity_over_turns_is_drawn_in_groups() -> None:
    (line,) = lines_of(validity_chart([SHEET]))
    assert len(line) == 1
    assert len(lines_of(validity_chart([SHEET, SHEET]))) == 2


def test_the_loss_of_the_training_run_is_drawn(tmp_path: Path) -> None:
    log = Path(__file__).parents[3] / "corpora" / "training" / "log.jsonl"
    both = lines_of(loss_chart(log))
    assert len(both) == 2
    assert all(line[0][1] < line[-1][1] for line in both)  # down the page is down in nats
    main(["loss", str(tmp_path / "a" / "loss.svg"), str(log)])
    assert (tmp_path / "a" / "loss.svg").read_text() == loss_chart(log)


def test_a_chart_without_its_sheets_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nothing\.json is not there; `make evaluate-variants`"):
        main(["validity", str(tmp_path / "a.svg"), "nothing.json"])
    assert not (tmp_path / "a.svg").exists()


def test_what_the_training_run_could_do_is_drawn() -> None:
    probes = Path(__file__).parents[3] / "corpora" / "training" / "probes.jsonl"
    four = lines_of(learning_chart(probes))
    assert len(four) == len(PROBED)
    assert all(line[0][1] > line[-1][1] for line in four)  # up the page is up in right answers
