"""Nested tools: their schemas have every shape, values fit them, and a request says every value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from corpora.lessons.handbook import environment, reminder, system_text
from corpora.lessons.nested import draw_arguments, invent_nested, invent_tools, say_request
from corpora.lessons.vocabulary import LESSONS

TOOLS = [invent_nested(Random(seed), LESSONS) for seed in range(400)]


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def test_values_fit_their_schemas_and_are_said() -> None:
    for number, tool in enumerate(TOOLS):
        rng = Random(number)
        schema = tool.definition()["function"]["parameters"]
        arguments = draw_arguments(rng, tool.fields)
        jsonschema_rs.validator_for(schema).validate(arguments)
        assert list(arguments) == [key for key in schema["properties"] if key in arguments]
        said = say_request(rng, tool, arguments)
        for value in leaves(arguments):
            if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
                assert str(value) in said, (value, said)


def test_every_shape_of_a_schema_occurs() -> None:
    text = json.dumps([tool.definition() for tool in TOOLS])
    for shape in ('"anyOf"', '"enum"', '"items": {"type": "object"', '"null"]', '{"type": "null"}'):
        assert text.count(shape) > 20, shape
    optional = [one for tool in TOOLS for one in tool.fields if not one.required]
    assert len(optional) > 200


def test_what_can_be_null_is_required_so_that_left_out_and_null_differ() -> None:
    nullable = [one for tool in TOOLS for one in tool.fields if one.kind == "nullable"]
    assert nullable
    assert all(one.required for one in nullable)


def test_tools_of_one_prompt_have_different_names() -> None:
    tools = invent_tools(Random(1), LESSONS, 60)
    assert len({tool.name.lower() for tool in tools}) == 60


@pytest.mark.parametrize("characters", [500, 14_000, 60_000])
def test_a_system_text_is_as_long_as_it_should_be(characters: int) -> None:
    text = system_text(Random(characters), LESSONS, characters)
    assert characters <= len(text) < characters + 4000
    assert text == system_text(Random(characters), LESSONS, characters)
    assert "{" not in text
    sentences = [line for line in text.split("\n") if len(line) > 60]
    assert characters < 10_000 or len(set(sentences)) > len(sentences) * 0.6


def test_blocks_are_closed() -> None:
    for seed in range(50):
        for block in (environment(Random(seed), LESSONS), reminder(Random(seed), LESSONS)):
            tag = block[1 : block.index(">")]
            assert block.endswith(f"</{tag}>")
