"""Giving up: what the client gets for calls that nothing could save."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.chat import FinishReason
from proxy.errors import CallFailed
from proxy.guarding.attempt import Attempt, Delta, as_emitted, unshown
from proxy.guarding.policy import GiveUp
from repair.tools import ToolSet
from repair.types import Problem, TextDelta, ToolCall


@dataclass(frozen=True, slots=True)
class GivenUp:
    """What goes out in place of the calls."""

    rest: tuple[Delta, ...]
    calls: tuple[ToolCall, ...]
    reason: FinishReason


def give_up(
    how: GiveUp, first: Attempt, problems: tuple[Problem, ...], tools: ToolSet, attempts: int
) -> GivenUp:
    """first: the model's own attempt, part of which the client may have. problems: what was wrong last.

    Raises CallFailed where the client shall get an error.
    """
    reason = FinishReason.length if first.cut else FinishReason.stop
    if first.filtered:
        reason = FinishReason.content_filter
    if how is GiveUp.error:
        told = [f"{one.path}: {one.message}" if one.path else one.message for one in problems]
        raise CallFailed(told, attempts)
    if how is GiveUp.passthrough:
        calls = first.calls or as_emitted(first, tools)
        if calls:
            return GivenUp(first.rest if first.calls else unshown(first), calls, FinishReason.tool_calls)
    loop = next((problem for problem in problems if problem.rule == "loop"), None)
    if first.calls and loop is not None:
        # the call was right in itself: its markup would only be noise
        return GivenUp((*first.rest, TextDelta(_stopped(first, loop))), (), FinishReason.stop)
    return GivenUp(first.rest, (), reason)


def _stopped(first: Attempt, loop: Problem) -> str:
    lead = "\n\n" if first.text.strip() else ""
    return f"{lead}Stopped: {loop.message}. The call was not made again."
