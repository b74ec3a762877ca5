"""Examination questions with their right calls, from seeds that training never uses.

One call of a tool invented on the spot, two or three such calls at once, a message that no tool serves,
and first turns of tasks over the tool world, of one call and of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora.conversations import Conversation, Message, Request, idle_turn, parallel_turn, single_turn
from corpora.world import TOOLBOXES
from corpora.world.base import Call, Toolbox
from corpora.world.script import Script, write_script

#: far from every training seed (training uses small seeds times a million)
EXAM_SEED = 900_040


@dataclass(frozen=True, slots=True)
class Question:
    """One request and the calls that are due; none where text is. kinds: (argument, kind) where known."""

    tools: tuple[Mapping[str, Any], ...]
    messages: tuple[Message, ...]
    expected: tuple[Call, ...]
    kinds: tuple[tuple[str, str], ...] = ()


def held_out(number: int, seed: int = EXAM_SEED) -> Random:
    """The random state of the examination's question of this number; training never has it."""
    return Random(seed * 1_000_003 + number)


def questions(count: int, seed: int = EXAM_SEED) -> list[tuple[Conversation, Request]]:
    """`count` single-turn questions with their one right call."""
    return [single_turn(held_out(number, seed)) for number in range(count)]


def unseen(count: int, seed: int = EXAM_SEED) -> list[Question]:
    """One call of a tool that nobody has seen."""
    return [
        _question(talk, [request], tuple((p.name, p.kind) for p in request.tool.parameters))
        for talk, request in questions(count, seed)
    ]


def parallel(count: int, seed: int = EXAM_SEED) -> list[Question]:
    """Two or three calls in one turn, of tools that nobody has seen."""
    return [_question(*parallel_turn(held_out(number, seed + 1))) for number in range(count)]


def several(count: int, seed: int = EXAM_SEED) -> list[Question]:
    """Two or three calls in one turn, over the tool world, one toolbox after the other."""
    return [_several(held_out(n, seed + 5), TOOLBOXES[n % len(TOOLBOXES)]) for n in range(count)]


def _several(rng: Random, toolbox: Toolbox) -> Question:
    while True:
        question = _opening_of(write_script(rng, toolbox, 1, talk_share=0.0))
        if len(question.expected) > 1:
            return question


def idle(count: int, seed: int = EXAM_SEED) -> list[Question]:
    """A message that none of the tools serves."""
    return [_question(idle_turn(held_out(number, seed + 2)), []) for number in range(count)]


def known(count: int, seed: int = EXAM_SEED) -> list[Question]:
    """The first turn of a task over the tool world, one toolbox after the other."""
    return [
        _opening_of(write_script(held_out(n, seed + 3), TOOLBOXES[n % len(TOOLBOXES)], 1, talk_share=0.0))
        for n in range(count)
    ]


def _opening_of(script: Script) -> Question:
    """The first turn of a script whose first task needs a call."""
    opening = ({"role": "system", "content": script.system},) if script.system else ()
    task = script.tasks[0]
    return Question(
        script.toolbox.tools, (*opening, {"role": "user", "content": task.text}), task.turns[0].calls
    )


PARTS: Mapping[str, Callable[[int, int], list[Question]]] = {
    "unseen": unseen,
    "known": known,
    "parallel": parallel,
    "several": several,
    "idle": idle,
}


def _question(
    talk: Conversation, requests: Sequence[Request], kinds: tuple[tuple[str, str], ...] = ()
) -> Question:
    expected = tuple(Call(one.tool.name, one.arguments) for one in requests)
    return Question(talk.tools, talk.messages[:-1], expected, kinds)
