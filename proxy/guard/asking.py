"""What the model is asked when it is asked again: in which way, and within which bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from proxy.conversation.message import Message
from proxy.conversation.request import ChatRequest, Sampling, ToolChoice, ToolMode
from proxy.guard.attempt import Attempt
from proxy.guard.partial_turn import PartialTurn
from repair.types import Problem

# The first time a little freedom is left, since the conversation has changed; then none.
_TEMPERATURES = (0.3, 0.0)
# From the conversation as it was, a cold model would say the same again.
_WARM = 0.3
_SEEDS = 2**63
# Tokens that every attempt may have, or so many times those of the last one: one that was cut, another one.
_LEAST_ROOM = 1024
_ROOM_OF_CUT, _ROOM = 2, 4


class Way(StrEnum):
    """correction: the failed attempts stand in the conversation, with what was wrong. untouched: from the
    conversation as it was, without a failed attempt before the model's eyes. structured: the arguments alone,
    as a JSON answer that fits the tool's schema.
    """

    correction = "correction"
    untouched = "untouched"
    structured = "structured"


def choose_way(
    number: int, attempts: int, standing: PartialTurn, problems: Sequence[Problem], tool: str
) -> Way:
    """number: of the re-ask, from 0, of so many attempts. tool: whose arguments alone could be asked for, or
    "". Calls that are kept, and loops, must be told.
    """
    told = bool(standing.kept) or any(problem.rule == "loop" for problem in problems)
    if number > 0 and number + 1 == attempts and tool:
        return Way.structured
    return Way.untouched if number == 1 and not told else Way.correction


def room_for(given: int | None, received: int, last: Attempt) -> int:
    """Tokens that the next attempt may have. given: the client's limit; received: what of it is used up."""
    room = max(_LEAST_ROOM, (_ROOM_OF_CUT if last.cut else _ROOM) * last.usage.completion_tokens)
    return room if given is None else min(room, given - received)


def sampling_for(given: Sampling, way: Way, number: int, room: int, repeated: bool) -> Sampling:
    """The client's own sampling within the room; colder, but from the untouched conversation not cold.

    Nothing is said of the temperature where the client said nothing: there are servers that take only theirs.
    """
    sampling = replace(given, max_tokens=room)
    if way is Way.untouched and given.seed is not None:
        sampling = replace(sampling, seed=(given.seed + number) % _SEEDS)
    if given.temperature is None or repeated:
        return sampling
    if way is Way.untouched:
        return replace(sampling, temperature=max(given.temperature, _WARM))
    return replace(sampling, temperature=min(given.temperature, _TEMPERATURES[min(number, 1)]))


def ask_for_calls(
    request: ChatRequest, messages: tuple[Message, ...], standing: PartialTurn, sampling: Sampling
) -> ChatRequest:
    """What is missing alone: of that tool where it is known and words would not do."""
    choice = request.tool_choice
    if choice.mode is ToolMode.auto and not standing.may_answer:
        if standing.only_tool:
            choice = ToolChoice(ToolMode.named, standing.only_tool)
        elif standing.slots:
            choice = ToolChoice(ToolMode.required)
    one = len(standing.missing) == 1 and not standing.open_ended
    return replace(
        request,
        messages=messages,
        tool_choice=choice,
        parallel_tool_calls=request.parallel_tool_calls and not one,
        sampling=sampling,
        constrained=bool(request.tools) and choice.mode is not ToolMode.none,
        settled=standing.settled,
        fork=True,
    )


def without_ours(asked: ChatRequest, request: ChatRequest) -> ChatRequest:
    """`asked` with the parameters of the client's own request: what we added may be what a server refuses."""
    return replace(
        asked,
        tool_choice=request.tool_choice if asked.tools else ToolChoice(),
        parallel_tool_calls=request.parallel_tool_calls,
        sampling=request.sampling,
        json_answer=request.json_answer if asked.tools else False,
        answer_schema=request.answer_schema if asked.tools else None,
    )
