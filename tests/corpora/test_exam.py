"""The examination's questions have one right answer each, and its marks tell right from wrong."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from corpora.conversations import single_turn
from corpora.exam import Mark, mark, report, wilson
from corpora.questions import EXAM_SEED, PARTS, Question, questions, unseen
from corpora.world.driver import Answer

NONE: list[tuple[str, str]] = []


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_asks_for_valid_calls_and_is_a_function_of_its_seed(part: Any) -> None:
    asked: list[Question] = part(25, EXAM_SEED)
    assert asked == part(25, EXAM_SEED)
    assert asked != part(25, EXAM_SEED + 10)
    assert len({question.messages[-1]["content"] for question in asked}) > 15
    for question in asked:
        assert question.messages[-1]["role"] == "user"
        schemas = {t["function"]["name"]: t["function"]["parameters"] for t in question.tools}
        for call in question.expected:
            jsonschema_rs.validate(schemas[call.name], dict(call.arguments))


def test_the_parts_ask_for_as_many_calls_as_they_say() -> None:
    counts = {part: {len(question.expected) for question in PARTS[part](40, EXAM_SEED)} for part in PARTS}
    assert counts["unseen"] == {1}
    assert counts["parallel"] == {2, 3}
    assert counts["several"] == {2, 3}
    assert counts["idle"] == {0}
    assert min(counts["known"]) >= 1


def test_a_value_that_ends_like_a_sentence_stands_in_quotes() -> None:
    ends = [
        (value, question.messages[-1]["content"])
        for question in PARTS["unseen"](1500, EXAM_SEED)
        for value in question.expected[0].arguments.values()
        if isinstance(value, str) and value[-1] in ".,;:!?"
    ]
    assert len(ends) > 5
    for value, said in ends:
        assert any(f"{quote}{value}{quote}" in said for quote in "\"'"), (value, said)


def test_no_seed_of_training_draws_an_examination_question() -> None:
    assert EXAM_SEED * 1_000_003 > 10**11
    assert questions(1)[0] != questions(1, EXAM_SEED + 1)[0]
    assert questions(1)[0] == single_turn(Random(EXAM_SEED * 1_000_003))


def marked(question: Question, *calls: tuple[str, str], content: str = "") -> Mark:
    items = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return mark(question, Answer({"content": content, "tool_calls": items}, "stop", 1, 1))


def test_marks_tell_right_from_wrong() -> None:
    question = unseen(1)[0]
    (due,) = question.expected
    arguments = json.dumps(due.arguments)
    right = marked(question, (due.name, arguments))
    assert (right.called, right.valid, right.named, right.exact) == (True, True, True, True)
    assert right.kinds
    assert all(ok for _, ok in right.kinds)
    other = marked(question, ("no_such_tool", arguments))
    assert (other.called, other.valid, other.named, other.exact) == (True, False, False, False)
    broken = marked(question, (due.name, '{"cut'))
    assert (broken.valid, broken.exact) == (False, False)
    assert not any(ok for _, ok in broken.kinds)
    prose = marked(question, *NONE, content="I will do it.")
    assert (prose.called, prose.valid) == (False, False)
    assert not marked(question, (due.name, arguments), (due.name, arguments)).exact


def test_the_table_counts_what_was_due() -> None:
    question = unseen(1)[0]
    (due,) = question.expected
    right = marked(question, (due.name, json.dumps(due.arguments)))
    wrong = marked(question, *NONE, content="No.")
    idle = marked(PARTS["idle"](1, EXAM_SEED)[0], *NONE, content="Hello.")
    table = report([right, wrong, idle])
    assert "| exactly right | 50.0% | 2 |" in table
    assert "| no call, and none was due | 100.0% | 1 |" in table


def test_the_interval_holds_the_share_and_narrows() -> None:
    low, high = wilson(90, 100)
    assert low < 0.9 < high
    wider_low, wider_high = wilson(9, 10)
    assert wider_low < low
    assert wider_high > high or wider_high <= 1
