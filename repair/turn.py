"""Turn: one model turn under the guard. Text and reasoning stream; calls are all accepted, or none is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from repair.attempts import find_attempt, find_residue
from repair.events import (
    Calls,
    Draft,
    Event,
    Junk,
    Place,
    Reasoning,
    Text,
    Unopened,
    join_sections,
    join_texts,
    settle_reasoning,
    text_of,
    texts_of,
)
from repair.formats import Wire
from repair.ladder import emit_plain, repair_call
from repair.limits import LIMITS
from repair.placement import InText, find_misplaced, settle_bare, settle_inline
from repair.regions import is_blank
from repair.stop import ContentStops
from repair.stream import StreamParser
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import (
    Accepted,
    Fix,
    FixKind,
    Problem,
    RawCall,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """What a turn may hold.

    tool_choice: `auto`, `none`, `required`, or `named` with tool_name.
    parallel: several calls are allowed.
    calls_in_reasoning: a call that ends the reasoning, with no answer after it, counts.
    enabled: False passes on what parses strictly, unrepaired and unvalidated.
    in_text: which calls in the text count.
    json_answer: the text was asked to be JSON.
    stops: the turn ends where one of them completes in its content.
    """

    tool_choice: str = "auto"
    tool_name: str | None = None
    parallel: bool = True
    calls_in_reasoning: bool = True
    enabled: bool = True
    in_text: InText = InText.placed
    json_answer: bool = False
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a turn. events: what was still held. With `reask` there are no calls, and the events
    complete the model's own text, byte for byte.
    """

    events: tuple[TextDelta | ReasoningDelta, ...]
    calls: tuple[ToolCall, ...]
    verdict: Verdict
    fixes: tuple[Fix, ...] = ()
    problems: tuple[Problem, ...] = ()


DEFAULT_POLICY = TurnPolicy()
_PLAIN = (Text, Reasoning)


class Turn:
    """One model turn: incremental, pure, and the same for every split of the text. close() may be called
    once.
    """

    def __init__(
        self,
        tools: ToolSet,
        format: str | Wire = "auto",
        policy: TurnPolicy = DEFAULT_POLICY,
        generation_prompt: str = "",
    ) -> None:
        self._tools = tools
        self._policy = policy
        self._format = format
        self._said: list[str] = []
        self._left: list[str] = []
        self._kept: list[Event] = []
        self._judged: list[tuple[Calls, _Judged]] = []
        self._stops = ContentStops(policy.stops) if policy.stops else None
        self._drafted = False
        self._parser = StreamParser(
            tools,
            format,
            with_calls=bool(tools) and policy.tool_choice != "none",
            drafts=policy.calls_in_reasoning and policy.enabled,
            generation_prompt=generation_prompt,
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why this turn will be `reask` whatever still comes, so that it may be given up early; empty while
        that is open, which it is until a block of reasoning was read: a closing marker whose opening stood in
        the prompt may still make all calls part of the reasoning.
        """
        if not self._parser.reasoned:
            return ()
        certain = [one for event, one in self._judged if event.place is Place.line]
        found = [problem for one in certain for problem in one.problems]
        return tuple(found or self._apply_policy([call for one in certain for call in one.calls])[2])

    @property
    def stopped(self) -> bool:
        """Whether a stop string has completed: the turn ends there, whatever may still come."""
        return self._stops is not None and self._stops.reached

    @property
    def stop_sequence(self) -> str | None:
        """The stop string that has completed."""
        return self._stops.found if self._stops is not None else None

    @property
    def held(self) -> str:
        """The call that is being written, from its marker on; "" outside of a call."""
        return self._parser.held()

    def feed(self, text: str) -> list[TextDelta | ReasoningDelta]:
        """What may be shown now; from the first call on nothing, until close()."""
        if self.stopped:
            return []
        events = self._parser.feed(text)
        if self._stops is not None:
            events = self._stops.take(events)
        if self._kept or not all(isinstance(one, _PLAIN) for one in events):
            return self._feed_calls(events)
        texts = texts_of(events)
        self._said += texts
        self._left += texts
        return _deltas(events)

    def _feed_calls(self, events: list[Event]) -> list[TextDelta | ReasoningDelta]:
        """feed() from the first event on that is neither text nor reasoning."""
        silent = all(map(is_blank, self._left))
        self._said += texts_of(events)
        events = self._settled(events)
        split = 0 if self._kept else _leaving(events, silent)
        self._left += texts_of(events[:split])
        self._kept += events[split:]
        if self._policy.enabled:
            self._judged += [
                (one, _judge_region(one, self._tools)) for one in events if isinstance(one, Calls)
            ]
        return _deltas(events[:split])

    def _settled(self, events: list[Event]) -> list[Event]:
        """The events, which may show that what is kept was reasoning: they then hold the end of a block that
        nothing has opened, and what is kept is returned with them.
        """
        if not self._drafted and not any(isinstance(one, Unopened | Draft) for one in events):
            return events
        kept, self._kept, self._judged = self._kept, [], []
        policy = self._policy
        events = settle_reasoning([*kept, *events], drafts=policy.calls_in_reasoning and policy.enabled)
        self._said = self._left + texts_of(events)
        self._drafted = any(isinstance(one, Draft) for one in events)
        return events

    def close(self, finish_reason: str | None) -> Outcome:
        """Judges the turn. finish_reason: the upstream's; only `length` is believed."""
        events = join_texts([*self._kept, *self._last()])
        if self._policy.enabled and all(isinstance(one, _PLAIN) for one in events):
            return self._without_calls(events)
        events = settle_inline(settle_bare(events))
        spoken = not all(map(is_blank, self._left))
        misplaced = find_misplaced(events, spoken, self._policy.in_text)
        if not self._policy.enabled:
            return _plain(join_sections(events), self._tools, misplaced is None)
        cut = finish_reason == "length" and not self.stopped
        draft = next((event for event in events if isinstance(event, Draft)), None)
        if draft is not None:
            return self._judge_draft(events, draft, cut)
        calls, fixes, problems = _judge(events, self._tools, cut, self._judged)
        if not calls and not problems:
            return self._without_calls(events)
        said = "".join(self._said)
        residue = find_residue(said, calls, self._tools, self._format, events) if calls else None
        problems += [one for one in (misplaced, residue) if one is not None]
        if not problems:
            calls, more, problems = self._apply_policy(calls)
            fixes += more
        if problems:
            deltas = _deltas(join_sections(events), raw=True)
            return Outcome(tuple(deltas), (), Verdict.reask, (), tuple(problems))
        verdict = Verdict.repaired if fixes else Verdict.clean
        return Outcome(_around(events), tuple(calls), verdict, tuple(fixes))

    def _last(self) -> list[Event]:
        """The last events."""
        if self.stopped:
            return self._settled([])
        events = self._parser.close()
        events = events if self._stops is None else self._stops.close(events)
        self._said += texts_of(events)
        return self._settled(events)

    def _without_calls(self, events: list[Event]) -> Outcome:
        deltas = tuple(_deltas(events, raw=True))
        if self._policy.tool_choice in ("required", "named"):
            problem = Problem("", "call_required", "a tool call was required and none came")
            return Outcome(deltas, (), Verdict.reask, (), (problem,))
        content = "".join((*self._left, *(one.text for one in deltas if isinstance(one, TextDelta))))
        may_call = self._policy.tool_choice != "none"
        asked = self._policy.json_answer
        attempt = find_attempt(content, self._tools, asked, self._format) if may_call else None
        if attempt is not None:
            return Outcome(deltas, (), Verdict.reask, (), (attempt,))
        return Outcome(deltas, (), Verdict.none)

    def _apply_policy(self, calls: list[ToolCall]) -> tuple[list[ToolCall], list[Fix], list[Problem]]:
        problems: list[Problem] = []
        fixes: list[Fix] = []
        if not self._policy.parallel and len(calls) > 1:
            if len({(call.name, call.arguments) for call in calls}) > 1:
                problems.append(Problem("", "parallel", f"one call was allowed, {len(calls)} came"))
            else:
                fixes.append(Fix(FixKind.duplicate_object, "", f"{len(calls)} equal calls", "1"))
                calls = calls[:1]
        wanted = self._policy.tool_name
        if self._policy.tool_choice == "named":
            wrong = next((call.name for call in calls if call.name != wanted), None)
            if wrong is not None:
                problems.append(Problem("", "wrong_tool", f"a call of {wanted!r} was due, got {wrong!r}"))
        return calls, fixes, problems

    def _judge_draft(self, events: list[Event], draft: Draft, cut: bool) -> Outcome:
        """Judges calls that end the reasoning: they count if all are accepted and nothing follows them."""
        inner = StreamParser(self._tools, self._format, drafts=False)
        parts = settle_bare(settle_reasoning(inner.read_all(draft.text), drafts=False))
        last = next((index for index, one in enumerate(reversed(parts)) if isinstance(one, Calls)), None)
        trailing = "" if last is None else "".join(text_of(one) for one in parts[len(parts) - last :])
        kept = [Reasoning(draft.text) if event is draft else event for event in events]
        calls, fixes, problems = _judge(parts, self._tools, cut)
        if last is None or trailing.strip() or not (calls or problems):
            return self._without_calls(kept)
        misplaced = find_misplaced(parts, False, self._policy.in_text, draft.place)
        problems += [misplaced] if misplaced else []
        if not problems:
            calls, more, problems = self._apply_policy(calls)
            fixes += more
        if problems:
            return Outcome(tuple(_deltas(kept, raw=True)), (), Verdict.reask, (), tuple(problems))
        spoken = [
            Reasoning(text_of(one))
            for one in parts
            if not isinstance(one, Calls | Junk) and text_of(one).strip()
        ]
        fixes.append(Fix(FixKind.promoted, "", "reasoning", "call"))
        kept = [one for event in events for one in (spoken if event is draft else [event])]
        return Outcome(_around(kept), tuple(calls), Verdict.repaired, tuple(fixes))


def _leaving(events: list[Event], silent: bool) -> int:
    """How many of `events` are sent at once: all before the first call, and before white space that stands
    alone before it (silent: nothing else was said).
    """
    first = next((index for index, one in enumerate(events) if isinstance(one, Calls | Draft)), None)
    if first is None:
        return len(events)
    said = next((index for index, one in enumerate(events[:first]) if isinstance(one, Text)), first)
    alone = silent and all(is_blank(one.text) for one in events[:first] if isinstance(one, Text))
    return said if alone else first


def _deltas(events: list[Event], raw: bool = False) -> list[TextDelta | ReasoningDelta]:
    """The deltas of the events. raw: calls and junk are text too, in the model's own order."""
    result: list[TextDelta | ReasoningDelta] = []
    for event in events:
        match event:
            case Reasoning(text) | Draft(text):
                result.append(ReasoningDelta(text))
            case Text(text):
                result.append(TextDelta(text))
            case _ if raw:
                result.append(TextDelta(text_of(event)))
    return result


def _around(events: list[Event]) -> tuple[TextDelta | ReasoningDelta, ...]:
    """What stands around accepted calls; white space alone is dropped."""
    deltas = _deltas(events)
    if not is_blank("".join(one.text for one in deltas if isinstance(one, TextDelta))):
        return tuple(deltas)
    return tuple(one for one in deltas if isinstance(one, ReasoningDelta))


@dataclass(frozen=True, slots=True)
class _Judged:
    """The calls of one region after the ladder."""

    calls: tuple[ToolCall, ...]
    fixes: tuple[Fix, ...]
    problems: tuple[Problem, ...]


def _judge_region(event: Calls, tools: ToolSet) -> _Judged:
    calls: list[ToolCall] = []
    fixes: list[Fix] = []
    problems: list[Problem] = []
    for raw in event.region.calls:
        outcome = repair_call(raw, tools)
        if isinstance(outcome, Accepted):
            calls.append(outcome.call)
            fixes += outcome.fixes
        else:
            problems += outcome.problems
    return _Judged(tuple(calls), tuple(fixes), tuple(problems))


def _judge(
    events: list[Event], tools: ToolSet, cut: bool, known: Sequence[tuple[Calls, _Judged]] = ()
) -> tuple[list[ToolCall], list[Fix], list[Problem]]:
    """Every call of the turn, with fixes in the calls' order. known: how its regions were judged already."""
    fixes: list[Fix] = []
    problems: list[Problem] = []
    enveloped: list[ToolCall] = []
    bare: list[ToolCall] = []
    earlier = {id(event): judged for event, judged in known}
    for index, event in enumerate(events):
        if isinstance(event, Junk):
            fixes.append(event.fix)
        if not isinstance(event, Calls):
            continue
        problems += _doubts(event, events[index + 1 :], cut)
        judged = earlier.get(id(event)) or _judge_region(event, tools)
        (bare if event.bare else enveloped).extend(judged.calls)
        fixes += judged.fixes
        problems += judged.problems
    if len(enveloped) > LIMITS.calls:
        problems.append(Problem("", "too_many_calls", f"more than {LIMITS.calls} calls in one turn"))
    if bare and enveloped:
        keys = {_meaning(call) for call in enveloped}
        if any(_meaning(call) not in keys for call in bare):
            problems.append(Problem("", "ambiguous_call", "calls inside and outside an envelope differ"))
        fixes.append(Fix(FixKind.echo, "", f"{len(bare)} outside the envelope", ""))
    return enveloped or bare, fixes, problems


def _meaning(call: ToolCall) -> tuple[str, str]:
    return call.name, json.dumps(decode_strict(call.arguments)[0], sort_keys=True)


def _doubts(event: Calls, following: list[Event], cut: bool) -> list[Problem]:
    """Why a region may not be what it seems."""
    region = event.region
    if cut and not region.closed and not following:
        return [Problem("", "truncated", "the output limit was reached inside a call")]
    for after in following:
        if isinstance(after, Calls):
            break
        if isinstance(after, Text) and any(one in after.text for one in region.fragile):
            return [Problem("", "ambiguous_end", "a closing marker stands in the text after the call")]
    return []


def _plain(events: list[Event], tools: ToolSet, placed: bool) -> Outcome:
    """The outcome with the guard off: a call that parses strictly counts. placed: calls are where they can
    stand.
    """
    kept: list[Event] = []
    calls: list[ToolCall] = []
    for event in events:
        found = _emitted(event.region.calls, tools) if placed and isinstance(event, Calls) else None
        if found:
            calls += found
        else:
            kept.append(Text(text_of(event)) if isinstance(event, Junk | Calls) else event)
    verdict = Verdict.clean if calls else Verdict.none
    return Outcome(_around(kept) if calls else tuple(_deltas(kept)), tuple(calls), verdict)


def _emitted(raws: tuple[RawCall, ...], tools: ToolSet) -> list[ToolCall]:
    calls = [emit_plain(raw, tools) for raw in raws]
    found = [call for call in calls if call is not None]
    return found if len(found) == len(calls) else []
