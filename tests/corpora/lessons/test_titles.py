"""Titles: the first words of what was said, where there are no tools."""

from __future__ import annotations

from random import Random

from corpora.lessons.titles import title, titled


def test_a_title_is_the_first_words_without_marks() -> None:
    assert title("Run `sh a.sh b` and tell me what it prints.") == "Run sh a.sh b and tell"
    assert title('"Wait."') == "Wait"
    assert title("...") == "..."


def test_every_title_stands_in_what_is_shown_and_there_is_no_tool() -> None:
    asked_apart = 0
    for seed in range(200):
        lesson = titled(Random(seed), 8192)
        assert not lesson.tools
        shown, told = lesson.messages[-2], lesson.messages[-1]
        assert (shown["role"], told["role"]) == ("user", "assistant")
        assert 1 <= len(told["content"].split()) <= 6
        plain = " ".join(shown["content"].replace("`", "").replace('"', "").split())
        assert told["content"] in plain
        asked_apart += [one["role"] for one in lesson.messages] == ["system", "user", "user", "assistant"]
    assert 60 < asked_apart < 140
