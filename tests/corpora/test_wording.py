"""Requests that lean on each other say every value, and keep the case of values."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

import pytest

from corpora.conversations import WHOLE, draw_conversation
from corpora.everyday import EVERYDAY
from corpora.familiar import FAMILIAR, ask_again, ask_for
from corpora.wording import flowing, join_requests

SEEDS = range(200)


@pytest.mark.parametrize("seed", SEEDS)
def test_asked_again_an_everyday_tool_gets_the_new_value(seed: int) -> None:
    rng = Random(seed)
    tool, arguments, text = ask_for(rng, rng.choice(EVERYDAY))
    again = ask_again(rng, tool, arguments, text)
    if again is None:
        assert len(arguments) != 1 or not isinstance(next(iter(arguments.values())), str)
        return
    other, joint, words = again
    assert other.keys() == arguments.keys()
    joined = join_requests(rng, [text, words], [None, joint])
    assert str(next(iter(other.values()))) in joined
    assert str(next(iter(arguments.values()))) in joined


def test_a_joint_inside_a_sentence_takes_the_place_of_its_end() -> None:
    rng = Random(0)
    asked = ["What is the weather in Lisbon?", "in Porto?"]
    assert join_requests(rng, asked, [None, " and "]) == "What is the weather in Lisbon and in Porto?"
    assert join_requests(rng, asked, [None, " And "]) == "What is the weather in Lisbon? And in Porto?"


@pytest.mark.parametrize(
    ("text", "flows"),
    [
        ("Book a room", "book a room"),
        ("Please ring Anna", "please ring Anna"),
        ("K7Q2 as the id. Book a room", "K7Q2 as the id. Book a room"),
        ("I want to book a room", "I want to book a room"),
    ],
)
def test_only_a_verb_loses_its_capital(text: str, flows: str) -> None:
    assert flowing(text) == flows


@pytest.mark.parametrize("seed", SEEDS)
def test_every_value_stands_in_the_message_that_asks_for_it(seed: int) -> None:
    messages = draw_conversation(Random(seed), WHOLE).messages
    for asked, answer in pairwise(messages):
        for call in answer.get("tool_calls", ()):
            arguments = json.loads(call["function"]["arguments"])
            flat = [
                v for value in arguments.values() for v in (value if isinstance(value, list) else [value])
            ]
            for value in flat:
                assert isinstance(value, bool) or str(value) in asked["content"]


def test_the_everyday_tools_hold_the_familiar_ones() -> None:
    assert set(map(id, FAMILIAR)) < set(map(id, EVERYDAY))
    for one in EVERYDAY:
        names = {p.name for p in one.tool.parameters}
        required = {p.name for p in one.tool.parameters if p.required}
        for template in one.templates:
            used = {name for name in names if f"{{{name}}}" in template}
            assert required <= used, (one.tool.name, template)
