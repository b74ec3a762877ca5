"""The end of a turn: what is still to be sent, the finish reason and the verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.conversation.events import FinishReason
from proxy.conversation.verdict import GiveUp, Verdict
from proxy.guard.attempt import Attempt, Delta, set_apart
from repair.tools import ToolSet
from repair.types import Fix, Problem, TextDelta, ToolCall
from repair.types import Verdict as TurnVerdict

_VERDICTS = {
    TurnVerdict.none: Verdict.none,
    TurnVerdict.clean: Verdict.clean,
    TurnVerdict.repaired: Verdict.repaired,
}


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ends.

    rest: text that is still to be sent.
    problems, given_up: of a turn whose calls were not saved.
    stop_sequence: the stop string that ended a turn in words.
    """

    rest: tuple[Delta, ...]
    calls: tuple[ToolCall, ...]
    verdict: Verdict
    reason: FinishReason
    fixes: tuple[Fix, ...] = ()
    problems: tuple[Problem, ...] = ()
    given_up: GiveUp | None = None
    stop_sequence: str | None = None


def deliver(attempt: Attempt) -> TurnEnd:
    """The end of a turn that is delivered as it was judged."""
    reason = FinishReason.length if attempt.cut else FinishReason.stop
    if attempt.filtered:
        reason = FinishReason.content_filter
    if attempt.calls:
        reason = FinishReason.tool_calls
    stop = attempt.stop_sequence if reason is FinishReason.stop else None
    return TurnEnd(
        attempt.rest,
        attempt.calls,
        _VERDICTS[attempt.verdict],
        reason,
        attempt.fixes,
        stop_sequence=stop,
    )


def unjudged_turn(attempt: Attempt, callable: bool) -> TurnEnd:
    """The turn as the model emitted it. callable: tools were declared, so that there may be calls in it."""
    verdict = Verdict.unjudged if callable or attempt.calls else Verdict.none
    return replace(deliver(attempt), verdict=verdict)


def observed_turn(attempt: Attempt, observed: Attempt) -> TurnEnd:
    """The turn as the model emitted it, with the verdict that the guard would have acted on."""
    verdict = _VERDICTS.get(observed.verdict, Verdict.reasked)
    return replace(deliver(attempt), verdict=verdict, fixes=observed.fixes, problems=observed.problems)


def answer_instead(first: Attempt, text: str) -> tuple[Delta, ...]:
    """The model's answer in place of its call, placed after the part of the turn that has been shown."""
    return (TextDelta(set_apart(first.text[: first.shown]) + text.strip()),)


def misfits(calls: Sequence[ToolCall], tools: ToolSet) -> int:
    """How many of the calls do not fit what their tool asks for, or name a tool that does not exist."""
    return sum(not _fits(call, tools) for call in calls)


def _fits(call: ToolCall, tools: ToolSet) -> bool:
    tool = tools.get(call.name)
    try:
        return tool is not None and tool.fits(json.loads(call.arguments))
    except (ValueError, RecursionError):
        return False
