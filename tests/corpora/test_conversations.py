"""What the model learns from is right: calls name declared tools, arguments fit, every value was said."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from corpora.conversations import FIRST_STEPS, Difficulty, draw_conversation, single_turn
from corpora.exam import EXAM_SEED, mark, questions, wilson

SEEDS = range(150)


@pytest.mark.parametrize("level", [FIRST_STEPS, Difficulty()], ids=["first steps", "full"])
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


def test_the_same_seed_draws_the_same_questions() -> None:
    assert questions(5) == questions(5)
    assert questions(5) != questions(5, EXAM_SEED + 1)


def answer(name: str, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def test_marks_tell_right_from_wrong() -> None:
    conversation, request = questions(1)[0]
    right = mark(conversation, request, answer(request.tool.name, json.dumps(request.arguments)))
    assert (right.called, right.valid, right.named, right.exact) == (True, True, True, True)
    other = mark(conversation, request, answer("no_such_tool", json.dumps(request.arguments)))
    assert (other.called, other.valid, other.named, other.exact) == (True, False, False, False)
    broken = mark(conversation, request, answer(request.tool.name, '{"cut'))
    assert (broken.valid, broken.exact) == (False, False)
    prose = mark(conversation, request, {"content": "I will do it."})
    assert (prose.called, prose.valid) == (False, False)
    doubled = {"tool_calls": answer(request.tool.name, json.dumps(request.arguments))["tool_calls"] * 2}
    assert not mark(conversation, request, doubled).exact


def test_the_interval_holds_the_share_and_narrows() -> None:
    low, high = wilson(90, 100)
    assert low < 0.9 < high
    wider_low, wider_high = wilson(9, 10)
    assert wider_low < low
    assert wider_high > high or wider_high <= 1
