"""The generator of damaged calls, and the repair of a small draw of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from corpora.bench_repair import compare, count_clean, count_invented, measure, readers_table, table
from corpora.malformations.judge import Answer, Mark, judge
from corpora.malformations.leaderboard import load_cases, load_irrelevant, source_of
from corpora.malformations.specimen import (
    ALL_FORMATS,
    ARGUMENTS,
    Label,
    Malformation,
    Specimen,
    Written,
    equal,
)
from corpora.malformations.table import (
    MALFORMATIONS,
    damage,
    draw_clean,
    draw_damaged,
    draw_tool_sets,
    invented,
)
from repair.tools import ToolSet
from repair.types import ToolCall, ToolDefinition
from repair.validate import is_valid

SEED = 40
TOOL = ToolDefinition("f", "", {"type": "object", "properties": {"n": {"type": "integer"}}})


def test_a_draw_comes_out_right() -> None:
    run = measure(draw_damaged(SEED, 900), show=3)
    assert run.count == 900
    assert set(run.formats.counts) == set(ALL_FORMATS)
    assert run.wrong == 0, run.overall.shown
    for kind, floor in (("one at a time", 0.99), ("two at a time", 0.95)):
        recoverable = run.overall.total(kind, tuple(Mark), Label.recoverable)
        exact = run.overall.total(kind, (Mark.exact,), Label.recoverable)
        assert exact >= floor * recoverable > 0, run.overall.shown


def test_clean_calls_pass_untouched() -> None:
    passed, failures = count_clean(SEED, 4 * len(ALL_FORMATS))
    assert not failures
    assert passed == 4 * len(ALL_FORMATS)


def test_no_call_is_invented() -> None:
    tools = draw_tool_sets(SEED, 20)
    read, failures = count_invented([(one, "What is the weather like on Mars?") for one in tools], SEED)
    assert read >= 200
    assert not failures


@pytest.mark.parametrize("one", MALFORMATIONS, ids=lambda one: one.name)
def test_every_malformation_can_be_drawn(one: Malformation) -> None:
    source = invented(SEED)
    rng = Random(one.name)
    for index in range(40 * len(ALL_FORMATS)):
        found = damage(source(rng, ALL_FORMATS[index % len(ALL_FORMATS)]), one, rng)
        if found is not None:
            assert found.done == (one.name,)
            return
    pytest.fail("it never applies")


def test_the_true_calls_fit_their_schemas() -> None:
    for specimen in draw_clean(SEED, 200):
        tools = ToolSet.compile(specimen.tools)
        for name, arguments in specimen.truth:
            tool = tools.get(name)
            assert tool is not None
            assert is_valid(arguments, tool.schema)


def test_what_is_recoverable_fits_too() -> None:
    for specimen in draw_damaged(SEED, 300):
        tools = ToolSet.compile(specimen.tools)
        for name, arguments in specimen.truth if specimen.label is Label.recoverable else ():
            tool = tools.get(name)
            assert tool is not None
            assert is_valid(arguments, tool.schema)


def test_a_seed_draws_the_same_again() -> None:
    assert list(draw_damaged(7, 60)) == list(draw_damaged(7, 60))
    assert list(draw_damaged(7, 60)) != list(draw_damaged(8, 60))


TRUE_CALL = ToolCall("f", '{"n": 1}')
JUDGED: list[tuple[Label, tuple[ToolCall, ...], str, Mark]] = [
    (Label.recoverable, (TRUE_CALL,), "", Mark.exact),
    (Label.recoverable, (ToolCall("f", '{"n": 1.0}'),), "", Mark.exact),
    (Label.recoverable, (ToolCall("f", '{"n": "1"}'),), "", Mark.wrong),
    (Label.recoverable, (ToolCall("f", '{"n": true}'),), "", Mark.wrong),
    (Label.recoverable, (ToolCall("g", '{"n": 1}'),), "", Mark.wrong),
    (Label.recoverable, (TRUE_CALL, TRUE_CALL), "", Mark.wrong),
    (Label.recoverable, (TRUE_CALL,), "</tool_call>", Mark.leaked),
    (Label.recoverable, (), "", Mark.missed),
    (Label.destroying, (TRUE_CALL,), "", Mark.wrong),
    (Label.destroying, (), "", Mark.refused),
    (Label.undecided, (TRUE_CALL,), "", Mark.exact),
    (Label.undecided, (ToolCall("f", "{}"),), "", Mark.wrong),
    (Label.undecided, (), "", Mark.spared),
]


@pytest.mark.parametrize(("label", "calls", "content", "mark"), JUDGED)
def test_the_judge(label: Label, calls: tuple[ToolCall, ...], content: str, mark: Mark) -> None:
    written = Written("f", {"n": 1}, "")
    specimen = Specimen("hermes", (TOOL,), (("f", {"n": 1}),), (written,), label=label)
    assert judge(specimen, Answer(calls, content)) is mark


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": [0]}, {"a": [False]}, False),
        (None, "null", False),
    ],
)
def test_equal_as_json_schema_has_it(left: Any, right: Any, same: bool) -> None:
    assert equal(left, right) is same


def test_the_judge_tells_a_turn_that_was_to_be_asked_again() -> None:
    written = (Written("f", {"n": 1}, ""),)
    specimen = Specimen("hermes", (TOOL,), (("f", {"n": 1}),), written, label=Label.destroying)
    for ask_again, silent, mark in (
        (True, True, Mark.wrong),
        (True, False, Mark.refused),
        (False, True, Mark.refused),
    ):
        assert judge(replace(specimen, ask_again=ask_again), Answer((), silent=silent)) is mark


def test_labels_only_get_worse() -> None:
    specimen = Specimen("hermes", (TOOL,), (), ())
    assert specimen.labelled(Label.destroying).labelled(Label.recoverable).label is Label.destroying
    assert specimen.labelled(Label.undecided).labelled(Label.recoverable).label is Label.undecided


def test_the_tables_count_what_was_drawn() -> None:
    run = measure(draw_damaged(SEED, 40, formats=("hermes", "glm")), show=0)
    lines = table("format", run.formats, ("hermes", "glm")).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["hermes", "glm"]
    assert sum(int(line.split("|")[2]) for line in lines[2:]) == 40


def test_other_readers_see_the_same_texts() -> None:
    tally = compare(draw_damaged(SEED, 40, formats=(ARGUMENTS,)))
    counted = {name: sum(counter.values()) for name, counter in tally.counts.items()}
    assert set(counted.values()) == {40}
    assert all(name in readers_table(tally) for name in counted)


def test_the_leaderboard_s_files_are_read(tmp_path: Path) -> None:
    function = {
        "name": "spot.play",
        "description": "Play.",
        "parameters": {
            "type": "dict",
            "properties": {"artist": {"type": "string"}, "loud": {"type": "float"}, "at": {"type": "tuple"}},
            "required": ["artist"],
        },
    }
    question = [[{"role": "user", "content": "Play Maria."}]]
    line = {"id": "a", "question": question, "function": [function]}
    truth = {
        "id": "a",
        "ground_truth": [{"spot.play": {"artist": ["Maria"], "loud": [0.5], "at": [[1, 2], ""]}}],
    }
    flat = {"id": "b", "ground_truth": [{"spot.play": {"artist": ["Maria"], "loud": [0.5], "at": [""]}}]}
    lines = "\n".join(map(json.dumps, (line, {**line, "id": "b"})))
    (tmp_path / "simple.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "simple.answers.jsonl").write_text(
        "\n".join(map(json.dumps, (truth, flat))), encoding="utf-8"
    )
    (tmp_path / "irrelevance.jsonl").write_text(json.dumps(line), encoding="utf-8")
    cases = load_cases(tmp_path)
    assert [case[1] for case in cases] == [
        (("spot.play", {"artist": "Maria", "loud": 0.5, "at": [1, 2]}),),
        (("spot.play", {"artist": "Maria", "loud": 0.5}),),
    ]
    assert load_irrelevant(tmp_path)[0][1] == "Play Maria."
    run = measure(draw_damaged(SEED, 66, source_of(cases)), show=3)
    assert run.wrong == 0, run.overall.shown
