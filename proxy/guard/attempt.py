"""One generation, read event by event and judged as a whole: text by Turn, structured calls by the ladder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.errors import UpstreamUnavailable
from proxy.conversation.events import RefusalDelta, Usage
from proxy.guard.emitted import EmittedCalls, in_words, meaning
from proxy.upstreams.base import (
    Generation,
    UpstreamCall,
    UpstreamCallPart,
    UpstreamEvent,
    UpstreamExtra,
    UpstreamFinish,
    UpstreamReasoning,
    UpstreamRefusal,
    UpstreamStarted,
    UpstreamText,
)
from repair.beginnings import begun_tool
from repair.doomed import DoomedCalls
from repair.doubt import Doubt
from repair.endings import is_closer
from repair.placement import InText
from repair.split_turn import Parts, emit_as_it_is, take_apart
from repair.stop import cut_content
from repair.tools import ToolSet
from repair.turn import Outcome, Turn, TurnPolicy
from repair.types import Fix, FixKind, Problem, ReasoningDelta, TextDelta, ToolCall, Verdict
from repair.unasked import Unasked
from repair.verbatim import VerbatimTurn

Delta = TextDelta | ReasoningDelta | RefusalDelta

# Problems of more than a call itself: of its place, of how many there are, of what the client allows.
_OF_THE_TURN = frozenset(
    {"misplaced_call", "wrong_tool", "parallel", "too_many_calls", "call_required", "loop", "repetition"}
)
REPEATED = Problem("", "repetition", "the answer repeated itself word for word and was stopped")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one generation came to.

    rest: the part of its own text that had not been shown when it ended.
    calls: its accepted calls; none where there are problems.
    parts: the single calls of a refused attempt, where it can be taken apart.
    emitted: calls that came as structure.
    text, reasoning, refusal: the whole of each, in the model's own bytes.
    shown: characters of the text that feed() gave out.
    shown_tokens: tokens that the shown text and the reasoning took, at most.
    cut: the upstream reached a token limit, or the attempt was stopped because it repeated itself.
    filtered: the upstream's content filter ended it.
    unconstrained, asked, warnings: as in UpstreamFinish.
    repeated: it was stopped because it repeated itself word for word.
    stop_sequence: the client's stop string that ended it.
    called: the declared tools that it calls, rightly or wrongly, as far as their names can be read.
    begun: where its text begins with a call and was refused, the tool named first in it, declared or not.
    written: where it was refused, all that the model wrote, in its own order.
    """

    rest: tuple[Delta, ...]
    calls: tuple[ToolCall, ...]
    verdict: Verdict
    fixes: tuple[Fix, ...] = ()
    problems: tuple[Problem, ...] = ()
    parts: Parts | None = None
    emitted: tuple[UpstreamCall, ...] = ()
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    shown: int = 0
    shown_tokens: int = 0
    cut: bool = False
    filtered: bool = False
    usage: Usage = field(default_factory=Usage)
    cache: CacheReport | None = None
    unconstrained: bool = False
    asked: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    repeated: bool = False
    stop_sequence: str | None = None
    called: tuple[str, ...] = ()
    begun: str = ""
    written: str = ""

    @property
    def tried_to_call(self) -> bool:
        return bool(self.calls or self.problems)


class AttemptReader:
    """Reads one generation to its end: feed() returns what may be shown, close() judges the whole, once."""

    def __init__(
        self,
        tools: ToolSet,
        generation: Generation,
        policy: TurnPolicy,
        holder: Unasked | Doubt | None = None,
        verbatim: bool = False,
    ) -> None:
        """holder: of text that may not be sent before the turn is judged.
        verbatim: nothing in the text is looked for but the client's stop strings.
        """
        self._tools = tools
        self._policy = policy
        self._format = generation.format
        self._generation_prompt = generation.generation_prompt
        self._turn: Turn | VerbatimTurn = (
            VerbatimTurn(policy.stops)
            if verbatim
            else Turn(tools, generation.format, policy, generation.generation_prompt)
        )
        self._holder = holder
        self._calls: list[UpstreamCall] = []
        self._raw: list[str] = []
        self._heard: list[str] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._tokens = 0
        self._shown_tokens = 0
        self._reasoning_tokens = 0
        self._finish: UpstreamFinish | None = None
        self._doomed = (
            DoomedCalls(tools) if policy.enabled and tools and policy.tool_choice != "none" else None
        )

    @property
    def doomed(self) -> Problem | None:
        """Why the call that is being written can no longer become a call of a declared tool; None if it still
        can.
        """
        return self._doomed.problem if self._doomed else None

    @property
    def stopped(self) -> bool:
        """Whether a stop string of the client has completed in the content."""
        return self._turn.stopped

    def end(self, events: Sequence[UpstreamEvent]) -> None:
        """Takes the last events of a generation that was ended here.

        Unless a stop string was the reason, the generation is judged like one that was cut off.
        """
        for event in events:
            self.feed(event)
        if self._finish is not None and not self.stopped:
            self._finish = replace(self._finish, reason="length")

    @property
    def tokens(self) -> int:
        """Tokens generated so far, as counted by the upstream."""
        return self._tokens

    @property
    def heard(self) -> str:
        """All that was written so far, in the model's own order: text, reasoning, and calls in words."""
        return "".join(self._heard)

    def feed(self, event: UpstreamEvent) -> list[Delta]:
        self._note(event)
        match event:
            case UpstreamText():
                self._raw.append(event.text)
                shown = self._show(self._leaving(self._turn.feed(event.text)), event.tokens)
                if self._doomed is not None and not shown and isinstance(self._turn, Turn):
                    self._doomed.look(len(event.text), self._turn)
                return shown
            case UpstreamReasoning():
                return self._show([ReasoningDelta(event.text)], event.tokens)
            case UpstreamRefusal():
                return self._show([RefusalDelta(event.text)], event.tokens)
            case UpstreamCallPart():
                self._tokens += event.tokens
                if self._doomed is not None:
                    self._doomed.look_at_call(event.name, event.arguments)
            case UpstreamCall():
                self._calls.append(event)
                self._tokens += event.tokens
            case UpstreamFinish():
                self._finish = event
        return []

    def _leaving(self, deltas: Sequence[Delta]) -> list[Delta]:
        """The deltas without what is held back."""
        if self._holder is None:
            return list(deltas)
        passed = [
            TextDelta(self._holder.feed(one.text)) if isinstance(one, TextDelta) else one for one in deltas
        ]
        return [one for one in passed if one.text]

    def _note(self, event: UpstreamEvent) -> None:
        match event:
            case UpstreamText() | UpstreamReasoning() | UpstreamRefusal():
                self._heard.append(event.text)
            case UpstreamCall():
                self._heard.append(in_words(event))
            case UpstreamStarted() | UpstreamExtra() | UpstreamCallPart() | UpstreamFinish():
                pass

    def _show(self, deltas: list[Delta], tokens: int) -> list[Delta]:
        self._tokens += tokens
        self._keep(deltas)
        if deltas:
            self._shown_tokens = self._tokens
            if all(isinstance(delta, ReasoningDelta) for delta in deltas):
                self._reasoning_tokens += tokens
        return deltas

    def _keep(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            match delta:
                case TextDelta(text):
                    self._text.append(text)
                case ReasoningDelta(text):
                    self._reasoning.append(text)
                case RefusalDelta(text):
                    self._refusal.append(text)

    def close(self) -> Attempt:
        """Judges the generation. Raises UpstreamUnavailable where it ended without a finish."""
        finish = self._finish
        if finish is None:
            raise UpstreamUnavailable("the upstream's stream ended without a finish")
        cut = finish.reason == "length"
        # a content filter may cut the text anywhere, too
        filtered = finish.reason == "content_filter"
        reason = "length" if cut or filtered else "stop"
        outcome = self._completed(self._turn.close(reason))
        if self.stopped:
            reason, cut, filtered = "stop", False, False
        shown = sum(map(len, self._text))
        outcome, parts = self._judge(outcome, finish, reason, cut)
        cut = cut and self.doomed is None
        self._keep(outcome.events)
        begun = self._begun(outcome.problems, parts)
        rest, stop = cut_content(outcome.events, self._policy.stops)
        return Attempt(
            rest=rest,
            calls=outcome.calls,
            verdict=outcome.verdict,
            fixes=outcome.fixes,
            problems=outcome.problems,
            parts=parts,
            emitted=tuple(self._calls),
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            refusal="".join(self._refusal),
            shown=shown,
            shown_tokens=self._cost_of_shown(shown, finish.usage),
            cut=cut and stop is None,
            filtered=filtered,
            usage=self._usage(finish.usage),
            cache=finish.cache,
            unconstrained=finish.unconstrained,
            asked=finish.asked,
            warnings=finish.warnings,
            repeated=finish.repeated,
            stop_sequence=self._turn.stop_sequence or stop or self._upstream_stop(finish),
            called=self._called(outcome.calls, parts, begun),
            begun=begun,
            written=self.heard if outcome.problems else "",
        )

    def _judge(
        self, outcome: Outcome, finish: UpstreamFinish, reason: str, cut: bool
    ) -> tuple[Outcome, Parts | None]:
        """The outcome of text and structured calls together, and its single calls."""
        parts: Parts | None = None
        if self._calls:
            emitted = EmittedCalls(self._calls, self._tools, self._policy)
            outcome, parts = emitted.judge(outcome, "".join(self._text), reason)
        elif outcome.problems and self._policy.enabled:
            parts = self._take_apart(outcome.problems, cut)
        if self.doomed is not None:
            outcome, parts = _refused_as_doomed(outcome, self.doomed), None
        if finish.repeated and self._callable and not _distinct(outcome.calls):
            outcome, parts = _refused_as_repeated(outcome), None
        return outcome, parts

    def _usage(self, told: Usage) -> Usage:
        """With the reasoning's tokens as they were counted here, where the upstream does not tell them."""
        return replace(told, reasoning_tokens=told.reasoning_tokens or self._reasoning_tokens)

    def _begun(self, problems: tuple[Problem, ...], parts: Parts | None) -> str:
        """See Attempt.begun. Not where calls in text may be quoted ones."""
        of_the_turn = any(problem.rule in _OF_THE_TURN for problem in problems)
        if not problems or of_the_turn or self._calls or self._policy.in_text is not InText.placed:
            return ""
        read = parts.raws[0].name if parts is not None and parts.raws else ""
        return begun_tool("".join(self._text), self._tools, read)

    def _called(self, calls: Sequence[ToolCall], parts: Parts | None, begun: str) -> tuple[str, ...]:
        names = [*(call.name for call in calls), *(call.name for call in self._calls), begun]
        names += [part.name for part in parts.calls] if parts is not None else []
        return tuple(dict.fromkeys(name for name in names if name in self._tools.names))

    def _upstream_stop(self, finish: UpstreamFinish) -> str | None:
        """The client's stop string that the upstream reports; servers report strings of their own there as
        well.
        """
        return finish.stop_sequence if finish.stop_sequence in self._policy.stops else None

    def _take_apart(self, problems: tuple[Problem, ...], cut: bool) -> Parts | None:
        return take_apart(
            "".join(self._raw),
            self._tools,
            problems,
            format=self._format,
            generation_prompt=self._generation_prompt,
            cut=cut,
            stops=self._policy.stops,
        )

    def _completed(self, outcome: Outcome) -> Outcome:
        """With what was held back, but for a lone closing marker behind an answer in words. A refusal is an
        answer, whatever was asked for.
        """
        if self._refusal and not self._calls and not outcome.calls:
            outcome = replace(outcome, problems=(), verdict=Verdict.none)
        if self._holder is None:
            return outcome
        held = self._holder.close()
        events = (TextDelta(held), *outcome.events) if held else outcome.events
        left = "".join(event.text for event in events if isinstance(event, TextDelta))
        if outcome.verdict is Verdict.none and is_closer(left):
            events = tuple(event for event in events if not isinstance(event, TextDelta))
            fixes = (*outcome.fixes, Fix(FixKind.extra_closer, "", left.strip(), ""))
            return replace(outcome, events=events, fixes=fixes)
        return replace(outcome, events=events)

    @property
    def _callable(self) -> bool:
        """Whether calls are looked for in this turn."""
        return self._policy.enabled and bool(self._tools) and self._policy.tool_choice != "none"

    def _cost_of_shown(self, shown: int, usage: Usage) -> int:
        """Tokens of what was shown: the sum over the pieces, or a share by characters where the upstream does
        not count pieces well.
        """
        said = len("".join(self._raw)) + sum(len(call.arguments) for call in self._calls)
        share = math.ceil(usage.completion_tokens * shown / said) if said else 0
        return max(self._shown_tokens, share)


def _refused_as_doomed(outcome: Outcome, problem: Problem) -> Outcome:
    """The outcome of a generation that was ended because its call was doomed: not counted as cut by the token
    limit.
    """
    told = (problem, *(one for one in outcome.problems if one.rule != "truncated"))
    return replace(outcome, calls=(), verdict=Verdict.reask, fixes=(), problems=told)


def _distinct(calls: tuple[ToolCall, ...]) -> bool:
    """Whether there are calls and no two are equal: if so, it was not the calls that were repeated."""
    return bool(calls) and len({meaning(call) for call in calls}) == len(calls)


def _refused_as_repeated(outcome: Outcome) -> Outcome:
    """The outcome of a generation that repeated itself. None of its calls is kept: the whole turn is asked
    for again, and of calls that were repeated the client would get each one once, as text.
    """
    calls = {meaning(call): UpstreamCall(call.name, call.arguments) for call in outcome.calls}
    told = tuple(TextDelta(f"\n{in_words(call)}") for call in calls.values())
    problems = (*outcome.problems, REPEATED)
    return Outcome((*outcome.events, *told), (), Verdict.reask, (), problems)


def set_apart(shown: str) -> str:
    """The line breaks that separate what follows from text that was shown already."""
    breaks = len(shown) - len(shown.rstrip("\n"))
    return "\n" * max(0, 2 - breaks) if shown.strip() else ""


def unshown(attempt: Attempt) -> tuple[Delta, ...]:
    """The text around the calls of a refused attempt, as far as it has not been shown."""
    said = attempt.parts.said if attempt.parts else ""
    rest = said[attempt.shown :] if said.startswith(attempt.text[: attempt.shown]) else ""
    return (TextDelta(rest),) if rest.strip() else ()


def as_emitted(attempt: Attempt, tools: ToolSet) -> tuple[ToolCall, ...]:
    """The attempt's calls with their arguments as the model wrote them; none if one cannot be read."""
    if attempt.emitted:
        return tuple(ToolCall(call.name, call.arguments, call.extra) for call in attempt.emitted)
    raws = attempt.parts.raws if attempt.parts else ()
    found = [emit_as_it_is(raw, tools) for raw in raws]
    return tuple(call for call in found if call is not None) if None not in found else ()
