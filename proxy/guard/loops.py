"""Finds loops in the history: the same call, the same pair of calls, or the same error again and again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.guard.emitted import meaning
from proxy.guard.policy import LoopLimits
from repair.types import Problem, ToolCall

_ERROR = re.compile(
    r"\b(?:error|exception|traceback|failed|failure|not found|invalid|denied|cannot|could not|timed? ?out)\b",
    re.IGNORECASE,
)
_LOOKED_AT = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the history. key: equal for equal calls. result: None where there is none yet."""

    name: str
    key: tuple[str, str]
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """The loop in which the steps end.

    count: rounds so far.
    steady: whether the last rounds, as many as a nudge takes, brought the same results.
    what: the loop in words, to follow a count.
    patience: the limit for stopping it is multiplied by this.
    """

    count: int
    steady: bool
    what: str
    patience: int = 1


def steps_of(messages: Sequence[Message], limits: LoopLimits) -> list[Step]:
    """The calls since the user last spoke, each with its result; of a long history as many as the limits
    need.
    """
    enough = 2 * (max(limits.nudge, limits.stop) + 1)
    start, count = len(messages), 0
    while start and messages[start - 1].role is not Role.user and count < enough:
        start -= 1
        count += len(messages[start].calls)
    steps: list[Step] = []
    waiting: list[tuple[str, int]] = []
    for message in messages[start:]:
        if message.role is Role.assistant and message.calls:
            waiting = [(call.id, len(steps) + i) for i, call in enumerate(message.calls)]
            steps += [Step(one.name, meaning(ToolCall(one.name, one.arguments))) for one in message.calls]
        elif message.role is Role.tool and waiting:
            # results are matched by id; clients that send no id, or another one, answer in the order of the
            # calls
            found = next(
                (one for one in waiting if message.call_id and one[0] == message.call_id), waiting[0]
            )
            waiting.remove(found)
            steps[found[1]] = replace(steps[found[1]], result=message.text)
    return steps


def find_loop(steps: Sequence[Step], limits: LoopLimits) -> Loop | None:
    """The longest loop that the steps end in, from two rounds on. Calls of polling tools make none."""
    if not steps or steps[-1].name in limits.polling:
        return None
    found = [_repeats(steps, limits), _ping_pong(steps, limits), _errors(steps)]
    return max((loop for loop in found if loop.count > 1), key=lambda loop: loop.count, default=None)


def _repeats(steps: Sequence[Step], limits: LoopLimits) -> Loop:
    last = steps[-1]
    count = _while(steps, lambda step, _: step.key == last.key)
    return Loop(
        count, _steady(steps[-count:], 1, limits), f"in a row {last.name} was called with the same arguments"
    )


def _ping_pong(steps: Sequence[Step], limits: LoopLimits) -> Loop:
    pair = [step.key for step in steps[-2:]]
    names = [step.name for step in steps[-2:]]
    if len(pair) < 2 or pair[0] == pair[1] or limits.polling.intersection(names):
        return Loop(0, False, "")
    length = _while(steps, lambda step, back: step.key == pair[1 - back % 2])
    what = f"in turn {names[0]} and {names[1]} were called with the same arguments"
    return Loop(length // 2, _steady(steps[-length:], 2, limits), what)


def _errors(steps: Sequence[Step]) -> Loop:
    """The loop of equal errors of one tool, whatever its arguments: other arguments are a new try, so that
    more patience is due. A call without a result yet does not end the loop.
    """
    told = [step for step in steps if step.result is not None]
    last = steps[-1]
    same = told[-1].result if told and told[-1].name == last.name else None
    if same is None or not _ERROR.search(same[:_LOOKED_AT]):
        return Loop(0, False, "")
    count = _while(told, lambda step, _: step.name == last.name and step.result == same)
    pending = len(steps) - len(told)
    return Loop(count + pending, True, f"in a row {last.name} was called and gave the same error", patience=2)


def _while(steps: Sequence[Step], holds: Callable[[Step, int], bool]) -> int:
    """At how many steps, counted back from the last, `holds` is true without a gap."""
    count = 0
    for back, step in enumerate(reversed(steps)):
        if not holds(step, back):
            break
        count += 1
    return count


def _steady(steps: Sequence[Step], period: int, limits: LoopLimits) -> bool:
    """Whether the results of the last rounds equal the results one round earlier."""
    told = [step.result for step in steps if step.result is not None][-period * max(limits.nudge, 2) :]
    return all(now == before for before, now in zip(told, told[period:], strict=False))


def nudge(request: ChatRequest, limits: LoopLimits) -> ChatRequest:
    """The request; where its history has become a loop, with a note in the last tool result."""
    loop = find_loop(steps_of(request.messages, limits), limits) if limits.nudge else None
    if loop is None or loop.count < limits.nudge or request.messages[-1].role is not Role.tool:
        return request
    last = request.messages[-1]
    same = " and brought the same result" if loop.steady else ""
    note = (
        f"[Note: {loop.count} times {loop.what}{same}. Doing it again changes nothing. "
        "Do something else, or answer with what you know.]"
    )
    told = last.with_more(f"\n{note}")
    return replace(request, messages=(*request.messages[:-1], told))


def refuse_loop(request: ChatRequest, calls: Sequence[ToolCall], limits: LoopLimits) -> Problem | None:
    """The problem of a turn whose calls would continue a loop too far; None where they do not. A call whose
    results still change makes progress, however often it is made.
    """
    if not limits.stop or not calls:
        return None
    due = [Step(call.name, meaning(call)) for call in calls]
    loop = find_loop([*steps_of(request.messages, limits), *due], limits)
    if loop is None or not loop.steady or loop.count < limits.stop * loop.patience:
        return None
    return Problem("", "loop", f"{loop.count} times {loop.what}, and nothing changes")
