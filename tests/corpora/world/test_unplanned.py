"""Whatever schema-valid call a model makes, the world answers; it never fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from corpora.world import TOOLBOXES
from corpora.world.base import Toolbox
from corpora.world.script import write_script

ODD: tuple[Any, ...] = (
    "",
    "no such thing",
    0,
    -1,
    3,
    10**12,
    0.5,
    3.0,  # an integer, by JSON Schema
    1e300,
    True,
    False,
    None,
    [],
    {},
    [1],
    ["x", "x"],
)


def spoiled(value: Any) -> Iterator[Any]:
    """The value with one thing in it, at any depth, replaced, left out or added."""
    yield from ODD
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: one for name, one in value.items() if name != key}
            for other in spoiled(inner):
                yield value | {key: other}
        yield value | {"max_stray": 4}
    if isinstance(value, list):
        for place, inner in enumerate(value):
            for other in spoiled(inner):
                yield [*value[:place], other, *value[place + 1 :]]
        yield [*value, *value]


@pytest.mark.parametrize("toolbox", TOOLBOXES, ids=lambda toolbox: toolbox.name)
def test_every_valid_call_has_an_answer(toolbox: Toolbox) -> None:
    answered = 0
    for seed in range(10):
        script = write_script(Random(seed), toolbox, 12)
        for call in (call for task in script.tasks for turn in task.turns for call in turn.calls):
            schema = jsonschema_rs.validator_for(toolbox.definition(call.name)["parameters"])
            for arguments in spoiled(dict(call.arguments)):
                if isinstance(arguments, dict) and schema.is_valid(arguments):
                    answer = toolbox.serve(copy.deepcopy(script.start), call.name, arguments)
                    assert json.dumps(answer)
                    answered += 1
    assert answered > 300


@pytest.mark.parametrize("toolbox", TOOLBOXES, ids=lambda toolbox: toolbox.name)
def test_an_argument_that_is_not_declared_is_told(toolbox: Toolbox) -> None:
    script = write_script(Random(3), toolbox, 4)
    state = copy.deepcopy(script.start)
    call = script.tasks[0].turns[0].calls[0] if script.tasks[0].turns else script.tasks[1].turns[0].calls[0]
    answer = toolbox.serve(state, call.name, {**call.arguments, "max_stray": 4})
    assert answer == {"error": "unknown argument max_stray"}
    assert state == script.start
