"""Values in backticks: the words around them stay, and so does every call."""

from __future__ import annotations

from random import Random

from corpora.conversations import Conversation
from corpora.lessons.draw import draw_lesson
from corpora.lessons.marks import mark


def asking(said: str, arguments: str) -> Conversation:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return Conversation((), ({"role": "user", "content": said}, {"role": "assistant", "tool_calls": [call]}))


def every(said: str, arguments: str) -> set[str]:
    return {mark(Random(seed), asking(said, arguments)).messages[0]["content"] for seed in range(20)}


def test_quotes_give_way_and_bare_values_get_marks() -> None:
    assert every('open "north wing" now', '{"a": "north wing"}') == {
        'open "north wing" now', "open `north wing` now",
    }  # fmt: skip
    assert "in `Rome`, please" in every("in Rome, please", '{"a": ["Rome"]}')


def test_what_is_said_twice_or_within_a_word_stays() -> None:
    for said in ("Rome or Rome", "in Romeo", "in a/Rome", "in `Rome`", "x"):
        assert every(said, '{"a": "Rome", "b": "x"}') == {said}


def test_only_what_the_user_says_changes_and_no_word_of_it() -> None:
    changed = 0
    for seed in range(60):
        lesson = draw_lesson(Random(seed), 3000, "crowds")
        marked = mark(Random(seed), lesson)
        assert marked.tools == lesson.tools
        for old, new in zip(lesson.messages, marked.messages, strict=True):
            if old != new:
                assert old["role"] == "user"
                plain = str.maketrans("", "", "`'\"")
                assert new["content"].translate(plain) == old["content"].translate(plain)
                changed += 1
    assert changed > 60
