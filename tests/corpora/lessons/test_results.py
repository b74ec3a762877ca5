"""What tools answered is put into clean words; the examination's rules tell clean from unclean."""

from __future__ import annotations

from random import Random

import pytest

from corpora.examinations.rules import quiet_flaw, sentence_flaw
from corpora.lessons.results import TELLINGS, draw_telling
from corpora.lessons.vocabulary import LESSONS


@pytest.mark.parametrize("kind", TELLINGS)
def test_the_lessons_own_words_are_clean(kind: str) -> None:
    for seed in range(300):
        telling = draw_telling(Random(seed), LESSONS, kind)
        assert telling.kind == kind
        assert sentence_flaw(telling.reply, telling.values) == "", telling


@pytest.mark.parametrize(
    ("text", "values", "flaw"),
    [
        ("The temp is 21 and the sky is clear.", [("21",), ("clear",)], ""),
        ("Done. The temp is 21.", [("21",)], ""),
        ('The note says "all is well".', [("all is well",)], ""),
        ("The price is 21.5.", [("21.5",)], ""),
        ("The file is ./a/b.txt.", [("./a/b.txt",)], ""),
        ("It starts at 19:13.", [("19:13",)], ""),
        ("Nothing was found.", [("nothing", "no ")], ""),
        ('Done. The temp" is 21."sky":"clear.', [("21",), ("clear",)], "a stray quotation mark"),
        ("Done. The temp is 21", [("21",)], "not one full stop for each sentence"),
        ("Done.. The temp is 21.", [("21",)], "not one full stop for each sentence"),
        ("The temp is 20.", [("21",)], "a value is missing"),
        ("The answer is: {temp: 21}.", [("21",)], "brackets"),
        ("The answer is []. It is empty.", [("empty",)], "brackets"),
        ("", [("21",)], "no words"),
        ('<tool_call>\n{"name": "x"}', [("x",)], "markup"),
        ("A is 1. B is 2. C is 3. D is 4.", [("1",)], "too many sentences"),
    ],
)
def test_rules_tell_clean_words_from_unclean(text: str, values: list[tuple[str, ...]], flaw: str) -> None:
    assert sentence_flaw(text, values) == flaw


@pytest.mark.parametrize(
    ("content", "finish", "tokens", "calls", "flaw"),
    [
        ("Hello!", "stop", 4, [], ""),
        ("Hello!", "length", 60, [], "no end within 60 tokens"),
        ("Hello!", "stop", 61, [], "no end within 60 tokens"),
        ('<tool_call>\n{"name": "', "stop", 9, [], "markup"),
        ("<|im_start|>user", "stop", 9, [], "markup"),
        ("", "stop", 1, [], "no words"),
        ("", "tool_calls", 9, [{}], "a call"),
    ],
)
def test_a_quiet_answer_has_no_markup_and_an_end(
    content: str, finish: str, tokens: int, calls: list[object], flaw: str
) -> None:
    assert quiet_flaw({"content": content, "tool_calls": calls}, finish, tokens) == flaw
