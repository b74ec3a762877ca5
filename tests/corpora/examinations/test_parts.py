"""The examination's parts: functions of a seed, with words that no lesson has, judged rightly."""

from __future__ import annotations

import hashlib
import json
import re
from random import Random
from typing import Any

import pytest

from corpora.conversations import WHOLE, draw_conversation
from corpora.examinations.parts import NESTED_TOOLS, PARTS, SYSTEM_CHARACTERS, Item
from corpora.examinations.run import Given, read_arguments, report
from corpora.lessons.corrections import KINDS, Form, draw_correction, forms_of
from corpora.lessons.examined import EXAMINED
from corpora.lessons.handbook import system_text
from corpora.lessons.results import draw_telling
from corpora.lessons.vocabulary import LESSONS
from corpora.questions import EXAM_SEED
from corpora.world import TOOLBOXES
from corpora.world.driver import Answer
from corpora.world.script import to_conversation, write_script

#: of the first 30 questions of each part: with others, no figure of docs/model.md compares with one before
DIGESTS = {
    "nested": "8d658ec9c7fe",
    "results": "d6b7767bce86",
    "toolless": "a62f4c790425",
    "unserved": "3d424e7f5720",
    "corrections": "0ede5df6034e",
}
WORDS = frozenset(EXAMINED.words()) - {"in", "of"}


def asked(part: str, count: int) -> list[Item]:
    return PARTS[part].draw(count, EXAM_SEED)


@pytest.mark.parametrize("part", PARTS)
def test_the_questions_stay_what_they_were(part: str) -> None:
    drawn = 1 if part == "corrections" else None  # behind the request are the guard's words, which may change
    questions = [[list(one.tools), list(one.messages[:drawn])] for one in asked(part, 30)]
    text = json.dumps(questions, ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == DIGESTS[part]


def shown(items: list[Item]) -> str:
    return json.dumps([[item.kind, item.tools, item.messages] for item in items])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_a_function_of_its_seed(part: str) -> None:
    assert shown(asked(part, 12)) == shown(asked(part, 12))
    assert shown(asked(part, 12)) != shown(PARTS[part].draw(12, EXAM_SEED + 50))


def test_forty_nested_tools_stand_behind_a_long_text_and_each_is_asked_for() -> None:
    items = asked("nested", 200)
    assert len(items) == 200
    assert {len(item.tools) for item in items} == {NESTED_TOOLS}
    assert all(len(item.messages[0]["content"]) >= SYSTEM_CHARACTERS for item in items)
    assert len({item.messages[0]["content"] for item in items}) == 4
    assert len({item.messages[1]["content"] for item in items}) == 200


def test_corrections_have_every_kind_and_form() -> None:
    kinds = {item.kind for item in asked("corrections", 80)}
    due = {f"{kind} ({form})" for kind in KINDS for form in forms_of(kind)} | {"arguments alone (alone)"}
    assert kinds == due


def answer(content: str = "", calls: list[tuple[str, Any]] | None = None, finish: str = "stop") -> Answer:
    items = [{"function": {"name": name, "arguments": json.dumps(value)}} for name, value in calls or ()]
    return Answer({"content": content, "tool_calls": items}, finish, 10, 10)


def test_a_wrong_value_a_needless_call_and_silence_are_told() -> None:
    item = asked("nested", 1)[0]
    assert item.flaw(answer("I will do it.")) == "silent: no call"
    assert item.flaw(answer(calls=[("no_such_tool", {})])) == "invalid: unknown tool"
    for part in ("toolless", "unserved"):
        item = asked(part, 1)[0]
        assert item.flaw(answer("Hello.")) == ""
        assert item.flaw(answer(calls=[("x", {})])) == "a call"
    alone = next(one for one in asked("corrections", 80) if one.kind == "arguments alone (alone)")
    assert alone.flaw(answer("not JSON")) == "no JSON"
    assert alone.flaw(answer("{}")) == "other arguments"


def test_what_is_due_is_right() -> None:
    """The due answer of each correction is judged as right, and words are right where no call may be made."""
    items = asked("corrections", 80)
    for kind in KINDS:
        for form in forms_of(kind):
            number = next(n for n, one in enumerate(items) if one.kind == f"{kind} ({form})")
            item = items[number]
            drawn = draw_correction(Random((EXAM_SEED + 27) * 1_000_003 + number), EXAMINED, kind, form)
            calls = [(call.name, call.arguments) for call in drawn.due]
            assert item.flaw(answer("" if calls else "All right.", calls)) == ""


def test_the_words_of_the_examination_are_in_no_lesson() -> None:
    """Neither in the words that lessons are made of nor in what comes of them."""
    assert not WORDS & set(LESSONS.words())
    texts = [json.dumps(draw_conversation(Random(seed), WHOLE).messages) for seed in range(300)]
    texts += [system_text(Random(seed), LESSONS, 9000) for seed in range(12)]
    texts += [str(draw_telling(Random(seed), LESSONS)) for seed in range(300)]
    texts += [
        str(draw_correction(Random(seed), LESSONS, kind, Form.text)) for kind in KINDS for seed in range(6)
    ]
    texts += [
        str(to_conversation(write_script(Random(seed), toolbox, 20)))
        for toolbox in TOOLBOXES
        for seed in range(3)
    ]
    found = set(re.findall(r"[a-z]+", " ".join(texts).lower()))
    assert sorted(found & WORDS) == []


def test_the_report_counts_kinds_and_flaws() -> None:
    given = [Given("a", "", "", "", (9, 1)), Given("b", "no words", "", "", (7, 1))]
    table = report(PARTS["results"], given)
    assert "| results to put into words | 50.0% | 2 |" in table
    assert "| a | 100.0% | 1 |" in table
    assert "- 1 x no words" in table


def test_a_seed_of_the_lessons_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(["--seed", "3"])
    assert "lessons use smaller ones" in capsys.readouterr().err
