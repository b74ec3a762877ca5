"""Lessons are functions of their seed, keep to their length, and learn only what the assistant should say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

from corpora.conversations import Conversation
from corpora.examinations.rules import quiet_flaw
from corpora.lessons import draw, drills
from corpora.lessons.closings import CLOSINGS, closings
from corpora.lessons.draw import MIXES, draw_lesson
from corpora.lessons.drills import drilled_arguments, drilled_calls, drilled_corrections, drilled_crowd
from corpora.lessons.errands import errands
from corpora.lessons.examined import EXAMINED
from corpora.lessons.vocabulary import LESSONS, draw_words
from corpora.rendering import render_spans
from repair.jsonl import read_tools

MODEL = Path(__file__).parents[3] / "engine" / "models" / "fortieth-tiny"
KINDS: tuple[Callable[[Random, int], Conversation], ...] = (
    draw.room, draw.workshop, draw.words, draw.quiet, draw.corrected, draw.pasted, drilled_calls,
    drilled_corrections, drilled_crowd, drilled_arguments, errands, *CLOSINGS,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_lesson_is_sound(kind: Callable[[Random, int], Conversation]) -> None:
    for seed in range(25):
        lesson = kind(Random(seed), 8192)
        assert lesson == kind(Random(seed), 8192)
        assert lesson.messages[-1]["role"] == "assistant"
        assert lesson.messages[-1].get("learned", True)
        tools = read_tools(list(lesson.tools))
        for message in lesson.messages:
            for call in message.get("tool_calls", ()) if message.get("learned", True) else ():
                tool = tools.get(call["function"]["name"])
                assert tool is not None
                assert tool.fits(json.loads(call["function"]["arguments"]))


def test_lessons_fill_the_length_and_rarely_exceed_it() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    lengths = []
    for seed in range(60):
        text = "".join(part for part, _ in render_spans(draw_lesson(Random(seed), 16_384)))
        lengths.append(len(tokenizer.encode(text, add_special_tokens=False).ids))
    assert max(lengths) > 10_000
    assert sum(length > 16_384 for length in lengths) <= 3


def test_every_kind_is_drawn() -> None:
    drawn = [draw_lesson(Random(seed), 3000) for seed in range(300)]
    assert any(not lesson.tools for lesson in drawn)
    assert max(len(lesson.tools) for lesson in drawn) >= 10
    assert sum(sum(one["role"] == "system" for one in lesson.messages) > 1 for lesson in drawn) > 8
    assert any("reminder>" in str(lesson.messages) for lesson in drawn)
    assert any("was not executed" in str(lesson.messages) for lesson in drawn)


def test_a_mix_draws_what_it_names() -> None:
    assert set(MIXES["drills"]) >= {drilled_calls, drilled_corrections}
    assert drilled_crowd in MIXES["crowds"]
    assert {errands, drilled_arguments} <= MIXES["errands"].keys()
    assert closings in MIXES["closings"]
    assert draw_lesson(Random(3), 3000, "drills") != draw_lesson(Random(3), 3000)


def test_a_crowd_has_many_tools_of_the_same_words_and_calls_hardly_one_twice() -> None:
    crowds = [drilled_crowd(Random(seed), 8192) for seed in range(60)]
    counts = sorted(len(lesson.tools) for lesson in crowds)
    assert counts[0] >= 4
    assert counts[30] >= 12
    assert counts[-1] >= 35
    for lesson in crowds:
        called = [c["function"]["name"] for m in lesson.messages for c in m.get("tool_calls", ())]
        assert len(set(called)) == min(len(called), len(lesson.tools))
    fields = [list(t["function"]["parameters"]["properties"]) for t in crowds[0].tools]
    assert len({name for one in fields for name in one}) < sum(map(len, fields))
    assert sum(lesson.messages[0]["role"] == "system" for lesson in crowds) > 5


@pytest.mark.parametrize("known", [True, False], ids=["known words", "new words"])
def test_drills_have_many_calls_in_few_tokens(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are to be learned: not the refused attempts. New words have more tokens."""
    if known:
        monkeypatch.setattr(drills, "draw_words", lambda rng: LESSONS)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    for kind, most in (
        (drilled_calls, 260 if known else 290), (drilled_corrections, 700), (drilled_crowd, 450),
    ):  # fmt: skip
        tokens = calls = 0
        for seed in range(40):
            lesson = kind(Random(seed), 8192)
            text = "".join(part for part, _ in render_spans(lesson))
            tokens += len(tokenizer.encode(text, add_special_tokens=False).ids)
            learned = [one for one in lesson.messages if one.get("learned", True)]
            calls += sum(len(one.get("tool_calls", ())) for one in learned)
        assert calls > 80
        assert tokens / calls < most


def test_lessons_have_new_words_so_that_names_are_copied() -> None:
    drawn = [draw_words(Random(seed)) for seed in range(200)]
    assert 25 <= sum(one is LESSONS for one in drawn) <= 75
    new = [word for one in drawn if one is not LESSONS for word in one.words()]
    assert len(set(new)) > 0.9 * len(new) > 5000
    assert all(3 <= len(word) <= 15 and word.isascii() and word.isalpha() for word in new)
    known = frozenset(LESSONS.words())
    tools = [name for seed in range(60) for name in _tool_names(drilled_calls(Random(seed), 4000))]
    parts = [{part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name)} for name in tools]
    assert sum(not one & known for one in parts) > len(parts) / 2


def _tool_names(lesson: Conversation) -> list[str]:
    return [str(one["function"]["name"]) for one in lesson.tools]


def test_quiet_lessons_say_a_sentence_and_call_nothing() -> None:
    for seed in range(60):
        for message in draw.quiet(Random(seed), 1000).messages:
            if message["role"] == "assistant":
                assert quiet_flaw(message, "stop", 1) == ""


def test_no_lesson_has_a_word_of_the_examination() -> None:
    words = frozenset(EXAMINED.words()) - {"in", "of"}
    drawn = [draw_lesson(Random(seed), 4000, mix) for mix in MIXES for seed in range(120)]
    text = " ".join(map(str, drawn)).lower()
    assert sorted(set(re.findall(r"[a-z]+", text)) & words) == []
