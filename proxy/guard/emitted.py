"""Judges calls that an upstream sends as structure, together with the text beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.upstreams.base import UpstreamCall
from repair.jsonl import repair_arguments
from repair.names import resolve_name
from repair.split_turn import Part, Parts, refused_part
from repair.tools import ToolSet
from repair.turn import Outcome, TurnPolicy
from repair.types import (
    Accepted,
    Fix,
    FixKind,
    Problem,
    ReasoningDelta,
    Rejected,
    TextDelta,
    ToolCall,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class EmittedCalls:
    """The calls of one turn, in order."""

    calls: Sequence[UpstreamCall]
    tools: ToolSet
    policy: TurnPolicy

    def judge(self, outcome: Outcome, shown: str, reason: str) -> tuple[Outcome, Parts | None]:
        """Judges the whole turn.

        outcome: that of the text, in which markup may have leaked.
        shown: how much of the text has been sent.
        reason: `length` or `stop`.
        """
        if not self.policy.enabled:
            plain = tuple(ToolCall(call.name, call.arguments, call.extra) for call in self.calls)
            return Outcome(
                outcome.events, outcome.calls + plain, Verdict.clean, outcome.fixes, outcome.problems
            ), None
        said = shown + _text_of(outcome.events)
        if self.policy.tool_choice == "none" or not self.tools:
            return self._told(outcome, said, Verdict.none, ()), None
        parts = tuple(self._part(call, reason) for call in self.calls)
        refused = [one.outcome.problems for one in parts if isinstance(one.outcome, Rejected)]
        accepted = [one.outcome for one in parts if isinstance(one.outcome, Accepted)]
        calls = tuple(one.call for one in accepted)
        beside, echoes = _beside(outcome, calls)
        beside += _against(self.policy, calls) if not refused else []
        if refused or beside:
            problems = (*(problem for some in refused for problem in some), *beside)
            cut = reason == "length" and isinstance(parts[-1].outcome, Rejected)
            taken = None if beside else Parts(parts, said, cut)
            return self._told(outcome, said, Verdict.reask, problems), taken
        fixes = (*(fix for one in accepted for fix in one.fixes), *echoes)
        verdict = Verdict.repaired if fixes else Verdict.clean
        return Outcome(outcome.events, calls, verdict, fixes), None

    def _told(self, outcome: Outcome, said: str, verdict: Verdict, problems: tuple[Problem, ...]) -> Outcome:
        """The outcome of the turn as text alone."""
        told = "\n".join(in_words(call) for call in self.calls)
        rest = (*outcome.events, TextDelta(f"\n{told}" if said else told))
        return Outcome(rest, (), verdict, (), problems)

    def _part(self, call: UpstreamCall, reason: str) -> Part:
        if not call.complete:
            problem = Problem("", "truncated", "the upstream's stream ended inside the call")
            return Part(self._declared(call.name), Rejected((problem,)))
        outcome = repair_arguments(call.name, call.arguments, self.tools, reason)
        name = self._declared(call.name)
        if isinstance(outcome, Accepted):
            return Part(name, replace(outcome, call=replace(outcome.call, extra=call.extra)))
        if not name:
            return Part(name, outcome)
        return refused_part(ToolCall(name, call.arguments), self.tools, outcome)

    def _declared(self, name: str) -> str:
        """The tool that this name means, "" where it means none."""
        resolved = resolve_name(name, self.tools)
        return "" if isinstance(resolved, Problem) else resolved[0].name


def _beside(outcome: Outcome, calls: tuple[ToolCall, ...]) -> tuple[list[Problem], list[Fix]]:
    """What the text beside structured calls adds. Equal calls in the text are an echo; other calls are a
    second reading of the turn.
    """
    problems = [problem for problem in outcome.problems if problem.rule != "call_required"]
    if not outcome.calls:
        return problems, []
    known = {meaning(call) for call in calls}
    if all(meaning(call) in known for call in outcome.calls):
        return problems, [Fix(FixKind.echo, "", f"{len(outcome.calls)} in the text", "")]
    return [*problems, Problem("", "ambiguous_call", "the calls in the text are not those beside it")], []


def meaning(call: ToolCall) -> tuple[str, str]:
    """Equal for calls that mean the same. Arguments that are not JSON are compared as text."""
    try:
        return call.name, json.dumps(json.loads(call.arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return call.name, call.arguments


def _against(policy: TurnPolicy, calls: tuple[ToolCall, ...]) -> list[Problem]:
    """The problems of structured calls with the client's tool choice."""
    problems: list[Problem] = []
    if not policy.parallel and len(calls) > 1:
        problems.append(Problem("", "parallel", f"one call was allowed, {len(calls)} came"))
    wrong = next((call.name for call in calls if call.name != policy.tool_name), None)
    if policy.tool_choice == "named" and wrong is not None:
        problems.append(Problem("", "wrong_tool", f"a call of {policy.tool_name!r} was due, got {wrong!r}"))
    return problems


def in_words(call: UpstreamCall) -> str:
    """A structured call as plain text, in no model's call format, so that it is not read as a call again."""
    return f"[The call of {call.name} was not executed: {call.arguments}]"


def _text_of(deltas: tuple[TextDelta | ReasoningDelta, ...]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
