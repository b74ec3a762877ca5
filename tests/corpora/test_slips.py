"""Slips that the model learns to mend: refused, answered as the guard answers, and not learned."""

from __future__ import annotations

import json
from random import Random

import pytest

from corpora.conversations import Conversation, Difficulty, Message, draw_conversation, idle_turn
from corpora.rendering import render_spans
from corpora.slips import stumble
from corpora.world import TOOLBOXES
from corpora.world.script import to_conversation, write_script
from repair.jsonl import read_tools, repair_arguments
from repair.types import Accepted, Rejected

LEVEL = Difficulty(parallel_share=0.6)


def slips(seed: int) -> Conversation:
    """The first slip that the seed gives."""
    rng = Random(seed)
    while True:
        talk = (
            draw_conversation(rng, LEVEL)
            if seed % 2
            else to_conversation(write_script(rng, TOOLBOXES[seed % len(TOOLBOXES)], 3))
        )
        found = stumble(rng, talk)
        if found is not None:
            return found


@pytest.mark.parametrize("seed", range(60))
def test_the_attempt_is_refused_and_the_last_turn_is_accepted(seed: int) -> None:
    slip = slips(seed)
    tools = read_tools(list(slip.tools))
    (again,) = slip.messages[-1]["tool_calls"]
    mended = repair_arguments(again["function"]["name"], again["function"]["arguments"], tools)
    assert isinstance(mended, Accepted)
    assert not mended.fixes
    (attempt,) = [message for message in slip.messages if message.get("learned") is False]
    calls = [call["function"] for call in attempt.get("tool_calls", ())]
    refused = [
        call
        for call in calls
        if isinstance(repair_arguments(call["name"], call["arguments"], tools), Rejected)
    ]
    assert len(refused) == 1 or (not calls and "<tool_call>" in attempt["content"])


@pytest.mark.parametrize("seed", range(20))
def test_the_broken_attempt_is_shown_and_not_learned(seed: int) -> None:
    spans = list(render_spans(slips(seed)))
    attempts = [at for at, (text, _) in enumerate(spans) if text.startswith("<tool_call>")]
    assert [spans[at][1] for at in attempts[-2:]] == [False, True]
    between = "".join(text for text, _ in spans[attempts[-2] : attempts[-1]])
    assert "not executed" in between


def test_the_other_calls_of_the_turn_are_kept() -> None:
    several = [slip for slip in map(slips, range(1, 160, 2)) if len(_attempt(slip).get("tool_calls", ())) > 1]
    assert several
    for slip in several:
        answers = slip.messages[slip.messages.index(_attempt(slip)) + 1 : -1]
        kept = [answer for answer in answers if "do not send it again" in answer["content"]]
        assert len(kept) == len(answers) - 1
        assert len(slip.messages[-1]["tool_calls"]) == 1


def _attempt(slip: Conversation) -> Message:
    return next(message for message in slip.messages if message.get("learned") is False)


def test_talk_without_calls_has_nothing_to_break() -> None:
    assert stumble(Random(1), idle_turn(Random(1))) is None


def test_a_slip_is_a_function_of_its_seed() -> None:
    assert slips(7) == slips(7)
    assert json.dumps(slips(7).messages) != json.dumps(slips(9).messages)
