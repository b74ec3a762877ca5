"""What is kept of a turn between two attempts: calls that are right, and places of those still missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.guard.attempt import Attempt
from proxy.guard.emitted import meaning
from repair.reask import says_back
from repair.turn import TurnPolicy
from repair.types import Accepted, Fix, Problem, ToolCall

# For these problems an answer in words is one: the model may lack what the call needs.
_MAY_ANSWER = frozenset(
    {
        "required",
        "unknown_tool",
        "ambiguous_tool",
        "missing_name",
        "broken_markers",
        "misplaced_call",
        "unasked_call",
        "announced_call",
        "loop",
        "repetition",
    }
)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one call in the turn.

    name: the tool that was named, or "".
    call: None while the call is missing.
    right: of a missing call, the arguments that were right in the refused one.
    """

    name: str
    call: ToolCall | None = None
    right: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartialTurn:
    """A turn that is partly right.

    slots: in the model's order; empty where the turn can only be asked for as a whole.
    open_ended: more calls may follow those of the slots.
    may_answer: an answer in words is accepted instead of a call.
    begun: the declared tool whose call the attempt began with, if the model did not lack what the call needs;
        a call is asked for then, and not words.
    fixes: those of the calls that are kept.
    repeated: an attempt at the missing calls brought kept ones and nothing else.
    """

    slots: tuple[Slot, ...] = ()
    open_ended: bool = False
    may_answer: bool = False
    begun: str = ""
    fixes: tuple[Fix, ...] = ()
    repeated: bool = False

    @property
    def kept(self) -> tuple[ToolCall, ...]:
        return tuple(slot.call for slot in self.slots if slot.call is not None)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the tools whose calls are missing, "" where one is not known."""
        return tuple(slot.name for slot in self.slots if slot.call is None)

    @property
    def settled(self) -> Mapping[str, Mapping[str, Any]]:
        """The arguments that need not be written again, by tool. Only of tools that one call is missing of:
        else it would be unclear whose arguments they are.
        """
        if self.open_ended:
            return {}
        counts = Counter(self.missing)
        return {
            slot.name: slot.right
            for slot in self.slots
            if slot.call is None and slot.right and counts[slot.name] == 1
        }

    @property
    def only_tool(self) -> str:
        """The one tool that all missing calls name, or ""."""
        names = set(self.missing)
        return names.pop() if len(names) == 1 else ""


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt that completes the turn. text: what the model answered instead of a call."""

    calls: tuple[ToolCall, ...]
    fixes: tuple[Fix, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt that does not complete the turn. problems: what the model is told."""

    partial: PartialTurn
    problems: tuple[Problem, ...]


def keep_accepted(attempt: Attempt, problems: tuple[Problem, ...], policy: TurnPolicy) -> PartialTurn:
    """What can be kept of a refused attempt at the whole turn. Nothing is kept of one that goes against the
    client's tool choice.
    """
    may_answer = bool(problems) and all(problem.rule in _MAY_ANSWER for problem in problems)
    unread = all(problem.rule == "broken_markers" for problem in problems)
    begun = attempt.begun if attempt.begun in attempt.called and (unread or not may_answer) else ""
    nothing = PartialTurn(may_answer=may_answer, begun=begun)
    if attempt.parts is None:
        return nothing
    slots: list[Slot] = []
    fixes: tuple[Fix, ...] = ()
    for part in attempt.parts.calls:
        if isinstance(part.outcome, Accepted):
            slots.append(Slot(part.outcome.call.name, part.outcome.call))
            fixes += part.outcome.fixes
        else:
            slots.append(Slot(part.name, right=part.right))
    partial = replace(nothing, slots=tuple(slots), open_ended=attempt.parts.open_ended, fixes=fixes)
    several = not policy.parallel and len(slots) > 1
    other = policy.tool_choice == "named" and any(call.name != policy.tool_name for call in partial.kept)
    return nothing if several or other else partial


def settle(
    partial: PartialTurn,
    attempt: Attempt,
    problems: tuple[Problem, ...],
    policy: TurnPolicy,
    told: str = "",
) -> Settled | Retry:
    """What the next attempt adds to the turn.

    problems: the attempt's own, or those of a loop that it continues.
    told: all corrections that the model has seen.

    Where nothing is kept, the attempt is the whole turn. Else it must bring exactly the missing calls.
    """
    if partial.kept:
        return _fill(partial, attempt, problems, policy)
    if problems:
        return Retry(keep_accepted(attempt, problems, policy), problems)
    if attempt.calls:
        return Settled(attempt.calls, attempt.fixes)
    answered = attempt.text.strip() and not attempt.cut and not says_back(attempt.text, told)
    if answered and partial.may_answer:
        return Settled((), text=attempt.text)
    return Retry(partial, (Problem("", "call_required", "the corrected call was due, and none came"),))


def _fill(
    partial: PartialTurn, attempt: Attempt, problems: tuple[Problem, ...], policy: TurnPolicy
) -> Settled | Retry:
    came = _came(attempt, problems, policy)
    if not came:
        due = Problem("", "call_required", f"{len(partial.missing)} calls were due, and none came")
        return Retry(partial, problems or (due,))
    known = {meaning(call) for call in partial.kept}
    new = [slot for slot in came if slot.call is None or meaning(slot.call) not in known]
    count = len(partial.missing)
    if not new and partial.repeated:
        return Settled(partial.kept, partial.fixes)  # told that a call is missing, the model says: these
    if len(new) != count and not (partial.open_ended and len(new) > count):
        told = f"{count} calls were due, {len(new)} came"
        return Retry(replace(partial, repeated=not new), (*problems, Problem("", "call_count", told)))
    slots: list[Slot] = []
    wrong: list[Problem] = []
    queue = list(new)
    for slot in partial.slots:
        if slot.call is not None:
            slots.append(slot)
            continue
        found = queue.pop(0)
        if slot.name and found.call is not None and found.call.name != slot.name:
            wrong.append(
                Problem("", "wrong_tool", f"a call of {slot.name!r} was due, got {found.call.name!r}")
            )
            found = Slot(slot.name)
        slots.append(found if found.call is not None else slot)
    filled = replace(partial, slots=(*slots, *queue), fixes=(*partial.fixes, *_fixes(attempt)))
    if filled.missing:
        return Retry(filled, (*problems, *wrong))
    return Settled(filled.kept, filled.fixes)


def _came(attempt: Attempt, problems: tuple[Problem, ...], policy: TurnPolicy) -> Sequence[Slot]:
    if not problems:
        return [Slot(call.name, call) for call in attempt.calls]
    return keep_accepted(attempt, problems, policy).slots


def _fixes(attempt: Attempt) -> tuple[Fix, ...]:
    parts = attempt.parts.calls if attempt.parts else ()
    kept = [part.outcome for part in parts if isinstance(part.outcome, Accepted)]
    return attempt.fixes or tuple(fix for one in kept for fix in one.fixes)
