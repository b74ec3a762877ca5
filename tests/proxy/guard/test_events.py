"""What the stream of events tells every dialect: how it starts, and which stop string ended it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from proxy.conversation.events import Event, Finish, FinishReason, OfChoice, Started
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, Sampling
from proxy.conversation.verdict import GuardMode
from proxy.guard.choices import open_delivery
from proxy.guard.deadline import Deadline
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.base import UpstreamCall, UpstreamReasoning
from proxy.upstreams.scripted import Script, ScriptedUpstream
from repair.types import ToolDefinition
from tests.proxy.requests import CALL, LISBON, WEATHER

TOOL = ToolDefinition("get_weather", "", WEATHER["function"]["parameters"])


async def events_of(script: Script, mode: GuardMode = GuardMode.full, **fields: Any) -> list[Event]:
    guard = Guard(ScriptedUpstream(lambda _: script), GuardPolicy(mode=mode, drift=None))
    request = ChatRequest("", (Message.of(Role.user, "x"),), **fields)
    delivery = await open_delivery(guard.open, request, Deadline())
    events = [event async for event in delivery.events()]
    await delivery.aclose()
    return events


@pytest.mark.parametrize("mode", GuardMode)
@pytest.mark.parametrize(
    "steps", [("a",), (CALL,), (UpstreamReasoning("r"), "a"), (UpstreamCall(*LISBON),), ()]
)
async def test_a_turn_starts_once_and_first(steps: Sequence[Any], mode: GuardMode) -> None:
    first, *rest = await events_of(Script(steps, started=(120, 100)), mode, tools=(TOOL,))
    assert first == Started(120, 100)
    assert not any(isinstance(event, Started) for event in rest)


async def test_several_answers_have_one_prompt() -> None:
    first, *rest = await events_of(Script(("a",), started=(9, None)), n=3)
    assert first == Started(9, None)
    assert all(isinstance(event, OfChoice) for event in rest[:-1])
    assert not any(isinstance(event, OfChoice) and isinstance(event.event, Started) for event in rest)


@pytest.mark.parametrize("mode", GuardMode)
@pytest.mark.parametrize("split", [False, True], ids=["at_once", "by_character"])
@pytest.mark.parametrize(
    ("text", "stops", "met"),
    [
        ("It rains. END of it", ("never", "END"), "END"),
        ("ab", ("b", "ab"), "ab"),
        ("abab", ("ba", "abab"), "ba"),
        ("It rains.", ("END",), None),
        ("It rains. EN", ("END",), None),
        ("<think>END</think>It rains.", ("END",), None),
        ("<think>a</think>It rains.\nSo.", ("\n",), "\n"),
    ],
)
async def test_the_stop_string_that_ended_it_is_told(
    text: str, stops: tuple[str, ...], met: str | None, split: bool, mode: GuardMode
) -> None:
    script = Script(tuple(text) if split else (text,))
    for tools in ((), (TOOL,)):
        events = await events_of(script, mode, tools=tools, sampling=Sampling(stop=stops))
        finish = events[-1]
        assert isinstance(finish, Finish)
        assert (finish.stop_sequence, finish.reason) == (met, FinishReason.stop)


@pytest.mark.parametrize(
    ("told", "met"), [("END", "END"), ("</s>", None), (None, None)], ids=["asked for", "its own", "silent"]
)
async def test_an_upstream_that_matched_it_tells(told: str | None, met: str | None) -> None:
    script = Script(("It rains. ",), stop_sequence=told)
    finish = (await events_of(script, sampling=Sampling(stop=("END",))))[-1]
    assert isinstance(finish, Finish)
    assert finish.stop_sequence == met


async def test_calls_are_ended_by_none() -> None:
    finish = (await events_of(Script((CALL, "\nEND")), tools=(TOOL,), sampling=Sampling(stop=("END",))))[-1]
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.stop_sequence) == (FinishReason.tool_calls, None)
