"""Giving up: what the client gets for calls that nothing could save."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.conversation.errors import CallFailed
from proxy.conversation.events import FinishReason
from proxy.conversation.verdict import GiveUp
from proxy.guard.attempt import Attempt, Delta, as_emitted, set_apart, unshown
from repair.split_turn import Part
from repair.tools import ToolSet
from repair.turn import TurnPolicy
from repair.types import Accepted, Problem, Rejected, TextDelta, ToolCall

_TOLD = 3
_TOLD_CHARS = 300
# The argument that replaces all others and holds them as the model wrote them.
NOT_EXECUTED = "not_executed"
# Names of calls that servers accept when the client sends its history back.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class GivenUp:
    """What the client gets in place of the calls. how: what was done; `text` where no call could be handed
    over.
    """

    rest: tuple[Delta, ...]
    calls: tuple[ToolCall, ...]
    reason: FinishReason
    how: GiveUp


def give_up(
    how: GiveUp,
    first: Attempt,
    problems: tuple[Problem, ...],
    tools: ToolSet,
    policy: TurnPolicy,
    attempts: int,
) -> GivenUp:
    """What the client gets for a turn whose calls could not be saved. Raises CallFailed where that is an
    error.

    first: the model's own attempt, of which the client may have got a part.
    problems: what was wrong with the last attempt.
    attempts: how often the model was asked.
    """
    loop = next((problem for problem in problems if problem.rule == "loop"), None)
    if how is GiveUp.error:
        raise CallFailed(_told(problems), attempts)
    if how is GiveUp.passthrough:
        calls = first.calls or as_emitted(first, tools)
        if calls:
            rest = first.rest if first.calls else unshown(first)
            return GivenUp(rest, calls, FinishReason.tool_calls, how)
    if how is GiveUp.client and not first.cut and not first.filtered:
        if calls := hand_over(first, tools, policy):
            return GivenUp(unshown(first), calls, FinishReason.tool_calls, how)
        if calls := _as_one(first, tools, policy):
            return GivenUp((), calls, FinishReason.tool_calls, how)
    if first.calls and loop is not None:
        # the call was right in itself: its markup would only be noise
        told = f"Stopped: {loop.message}. The call was not made again."
        return GivenUp((*first.rest, _behind(first, told)), (), FinishReason.stop, GiveUp.text)
    rest = (*first.rest, _behind(first, explain(problems, attempts)))
    return GivenUp(rest, (), _reason(first), GiveUp.text)


def hand_over(first: Attempt, tools: ToolSet, policy: TurnPolicy) -> tuple[ToolCall, ...]:
    """All calls of a refused attempt that was not cut, in a form that a validating client cannot execute,
    except for those that were right.

    None are handed over where that is not certain of every call, or where the turn was refused for more than
    its calls: for the place of a call, or against the client's tool choice.
    """
    emitted = as_emitted(first, tools)
    if first.parts is None or len(first.parts.calls) != len(emitted):
        return ()
    outcomes = [part.outcome for part in first.parts.calls]
    own = [problem for one in outcomes if isinstance(one, Rejected) for problem in one.problems]
    if any(problem not in own for problem in first.problems):
        return ()
    if not policy.parallel and len(emitted) > 1:
        return ()
    if policy.tool_choice == "named" and any(one.name != policy.tool_name for one in emitted):
        return ()
    pairs = zip(first.parts.calls, emitted, strict=True)
    calls = [_as_refused(part, call, tools) for part, call in pairs]
    return tuple(call for call in calls if call is not None) if None not in calls else ()


def _as_one(first: Attempt, tools: ToolSet, policy: TurnPolicy) -> tuple[ToolCall, ...]:
    """A text that begins with a call which cannot be read, as one call of the tool that it names."""
    name = first.begun
    # of a broken marker its end may have been shown, which says nothing
    said = any(char.isalnum() for char in first.text[: first.shown])
    if said or not _is_refused(name, tools):
        return ()
    if policy.tool_choice == "named" and name != policy.tool_name:
        return ()
    return (_not_executed(name, first.text),)


def _is_refused(name: str, tools: ToolSet) -> bool:
    """Whether a client that validates refuses a call of the tool without its arguments."""
    tool = tools.get(name)
    if tool is None:
        return _NAME.fullmatch(name) is not None
    return not tool.definition.free and bool(tool.schema.required - {NOT_EXECUTED})


def _not_executed(name: str, written: str) -> ToolCall:
    return ToolCall(name, json.dumps({NOT_EXECUTED: written}, ensure_ascii=False))


def _as_refused(part: Part, emitted: ToolCall, tools: ToolSet) -> ToolCall | None:
    if isinstance(part.outcome, Accepted):
        return part.outcome.call
    name = part.name or emitted.name
    tool = tools.get(name)
    if part.sound is not None and tool is not None and not tool.definition.free:
        return part.sound
    return _not_executed(name, emitted.arguments) if _is_refused(name, tools) else None


def explain(problems: Sequence[Problem], attempts: int) -> str:
    """What happened, for a person or a model that reads on. attempts: how often the model was asked."""
    times = {1: "once", 2: "twice"}.get(attempts, f"{attempts} times")
    told = [one if len(one) <= _TOLD_CHARS else f"{one[:_TOLD_CHARS]} ..." for one in _told(problems)[:_TOLD]]
    said = f"The model was asked {times} and made no call that can be executed: {'; '.join(told)}"
    return f"[No tool was executed. {said}.]"


def _told(problems: Sequence[Problem]) -> list[str]:
    return [f"{one.path}: {one.message}" if one.path else one.message for one in problems]


def _reason(first: Attempt) -> FinishReason:
    if first.filtered:
        return FinishReason.content_filter
    return FinishReason.length if first.cut else FinishReason.stop


def _behind(first: Attempt, told: str) -> TextDelta:
    return TextDelta(set_apart(first.text) + told)
