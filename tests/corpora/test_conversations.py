"""What the model learns from is right: calls name declared tools, arguments fit, every value was said."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from corpora.conversations import FIRST_STEPS, WHOLE, Difficulty, draw_conversation, single_turn

SEEDS = range(150)


@pytest.mark.parametrize("level", [FIRST_STEPS, Difficulty(), WHOLE], ids=["first steps", "full", "whole"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_call_is_valid_for_a_declared_tool(seed: int, level: Difficulty) -> None:
    conversation = draw_conversation(Random(seed), level)
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in conversation.tools}
    for message in conversation.messages:
        for call in message.get("tool_calls", ()):
            arguments = json.loads(call["function"]["arguments"])
            jsonschema_rs.validate(schemas[call["function"]["name"]], arguments)


def values(arguments: dict[str, Any]) -> list[Any]:
    flat = [v for value in arguments.values() for v in (value if isinstance(value, list) else [value])]
    return [v for v in flat if not isinstance(v, bool)]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_value_stands_in_the_request(seed: int) -> None:
    _, request = single_turn(Random(seed))
    for value in values(request.arguments):
        assert str(value) in request.text


def test_plain_results_are_repeated_word_for_word() -> None:
    plain = spoken = 0
    for seed in SEEDS:
        messages = draw_conversation(Random(seed), WHOLE).messages
        for place, message in enumerate(messages):
            if message["role"] != "tool" or message["content"].startswith("{"):
                continue
            plain += 1
            after = next((m for m in messages[place + 1 :] if m["role"] == "assistant"), None)
            if after is not None and after["content"]:
                spoken += 1
                assert message["content"] in after["content"]
    assert plain > spoken > 20


def test_results_are_json_where_none_are_to_be_plain() -> None:
    for seed in SEEDS:
        for message in draw_conversation(Random(seed), Difficulty()).messages:
            if message["role"] == "tool":
                assert isinstance(json.loads(message["content"]), dict)
