"""Messages that ask for no tool: of many forms, none of which is the examination's."""

from __future__ import annotations

import re
from random import Random

from corpora.examinations import chat
from corpora.lessons import chatter

DRAWS = 3000


def forms_of(module: object) -> set[str]:
    """The templates of a module, without marks and with all slots alike."""
    found = [one for value in vars(module).values() if isinstance(value, tuple) for one in value]
    return {re.sub(r"[^a-z* ]", "", re.sub(r"\{\w+\}", "*", one).lower()).strip() for one in found}


def test_no_form_is_one_of_the_examination() -> None:
    examined = {form for form in forms_of(chat) if form not in {"*", ""}}
    assert len(examined) >= 20
    assert examined & forms_of(chatter) == set()


def test_the_forms_are_many_and_the_words_too() -> None:
    drawn = [chatter.draw_chatter(Random(seed)) for seed in range(DRAWS)]
    assert len({text for text, _ in drawn}) > 0.75 * DRAWS
    assert all("{" not in text and text and reply for text, reply in drawn)


def test_a_request_that_nothing_serves_is_that_of_a_tool() -> None:
    text, reply = chatter.draw_unserved(Random(3))
    assert len(text) > 20
    assert reply == "I have no tool for that."


def test_things_to_look_up_are_among_what_nothing_serves() -> None:
    texts = [chatter.draw_unserved(Random(seed))[0] for seed in range(300)]
    asks = re.compile(
        r"look up|find|get|fetch|check|what|show|tell|run|execute|give|search|need", re.IGNORECASE
    )
    assert sum(bool(asks.match(text)) for text in texts) > 100
