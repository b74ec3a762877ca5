"""Chooses the next request of a re-ask: correction, untouched conversation, or the arguments alone.

The tokens and the sampling of the next attempt are decided here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from proxy.conversation.message import Message
from proxy.conversation.request import ChatRequest, Sampling, ToolChoice, ToolMode
from proxy.guard.attempt import Attempt
from proxy.guard.partial_turn import PartialTurn
from repair.types import Problem

# The first re-ask keeps a little randomness, since the conversation has changed; the later ones keep none.
_TEMPERATURES = (0.3, 0.0)
# Given the same conversation at temperature 0, the model would say the same again.
_WARM = 0.3
_SEEDS = 2**63
# An attempt may have _LEAST_ROOM tokens, or a multiple of what the last attempt took: _ROOM_OF_CUT times if
# that was cut off, else _ROOM times.
_LEAST_ROOM = 1024
_ROOM_OF_CUT, _ROOM = 2, 4


class Way(StrEnum):
    """How one re-ask is made.

    correction: the conversation continues with the failed attempts and what was wrong with them.
    untouched: the conversation as it was, so that the model does not see a failed attempt.
    structured: the arguments alone, as a JSON answer that fits the tool's schema.
    """

    correction = "correction"
    untouched = "untouched"
    structured = "structured"


def choose_way(
    number: int, attempts: int, partial: PartialTurn, problems: Sequence[Problem], tool: str
) -> Way:
    """The way of one re-ask. Kept calls and loops are only told by a correction.

    number: of this re-ask, from 0.
    attempts: how many re-asks there may be.
    tool: the tool whose arguments alone could be asked for, or "".
    """
    told = bool(partial.kept) or any(problem.rule == "loop" for problem in problems)
    if number > 0 and number + 1 == attempts and tool:
        return Way.structured
    return Way.untouched if number == 1 and not told else Way.correction


def room_for(given: int | None, received: int, last: Attempt) -> int:
    """Tokens that the next attempt may have. given: the client's limit. received: how much of the limit is
    used up.
    """
    room = max(_LEAST_ROOM, (_ROOM_OF_CUT if last.cut else _ROOM) * last.usage.completion_tokens)
    return room if given is None else min(room, given - received)


def sampling_for(given: Sampling, way: Way, number: int, room: int, repeated: bool) -> Sampling:
    """The client's own sampling with a new token limit and a lower temperature (not lower for Way.untouched).

    The temperature is left unset where the client left it unset: some servers accept only their own.
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
    request: ChatRequest, messages: tuple[Message, ...], partial: PartialTurn, sampling: Sampling
) -> ChatRequest:
    """The request for the missing calls only. A call is required, of the one tool where it is known, unless
    an answer in words may be what the model means.
    """
    choice = request.tool_choice
    if choice.mode is ToolMode.auto and (partial.begun or not partial.may_answer):
        if partial.only_tool:
            choice = ToolChoice(ToolMode.named, partial.only_tool)
        else:
            choice = ToolChoice(ToolMode.required)
    one = len(partial.missing) == 1 and not partial.open_ended
    return replace(
        request,
        messages=messages,
        tool_choice=choice,
        parallel_tool_calls=request.parallel_tool_calls and not one,
        sampling=sampling,
        constrained=bool(request.tools) and choice.mode is not ToolMode.none,
        settled=partial.settled,
        fork=True,
    )


def without_ours(asked: ChatRequest, request: ChatRequest) -> ChatRequest:
    """`asked` with the parameters of the client's own request: the server may have refused what we added."""
    return replace(
        asked,
        tool_choice=request.tool_choice if asked.tools else ToolChoice(),
        parallel_tool_calls=request.parallel_tool_calls,
        sampling=request.sampling,
        json_answer=request.json_answer if asked.tools else False,
        answer_schema=request.answer_schema if asked.tools else None,
    )
