"""Guards one request: opens the upstream, judges its text by repair's Turn, decides what the client gets."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from proxy.conversation.errors import InternalError, RequestError
from proxy.conversation.events import AnswerExtra, Event, Finish, FinishReason, Started, ToolCallReady
from proxy.conversation.logprobs import Logprobs
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.conversation.session_id import identify
from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from proxy.guard.announced import ANNOUNCED, announces
from proxy.guard.attempt import Attempt, AttemptReader, unshown
from proxy.guard.caller import NOBODY, Caller, turn_of
from proxy.guard.drift import DEFAULT_RULE, DriftStore, SessionKey
from proxy.guard.give_up import give_up
from proxy.guard.leaks import StructuredSessions, calls_in_text
from proxy.guard.loops import nudge, refuse_loop
from proxy.guard.policy import REASKING, Announce, GuardPolicy, LoopLimits, ReaskLimits
from proxy.guard.reask import Reask, Reasked
from proxy.guard.recorder import Recorder, RequestContext
from proxy.guard.schemas import SchemaCompiler
from proxy.guard.settled import (
    TurnEnd,
    answer_instead,
    deliver,
    misfits,
    observed_turn,
    unjudged_turn,
)
from proxy.prompts.think_time import reply_of
from proxy.records.activity import Activity
from proxy.records.request_record import Ending, Sink
from proxy.upstreams.base import Generation, Upstream, UpstreamExtra, UpstreamStarted, UpstreamText
from repair.doubt import Doubt
from repair.placement import InText
from repair.tools import ToolSet
from repair.turn import TurnPolicy
from repair.types import Problem
from repair.types import Verdict as TurnVerdict
from repair.unasked import Unasked

_log = logging.getLogger(__name__)

# In these modes only calls that were found valid are sent.
_JUDGING = (GuardMode.repair, *REASKING)
UNASKED = Problem("", "unasked_call", "a call was written where none may be made")

# So many different warnings are logged.
_WARNED = 1000


class Exchange:
    """An admitted request. Read its events() once, then call aclose(), which also aborts it half-way."""

    def __init__(
        self,
        guard: Guard,
        about: RequestContext,
        asked: ChatRequest,
        tools: ToolSet,
        generation: Generation,
        recorder: Recorder,
    ) -> None:
        self._guard = guard
        self._about = about
        self._asked = asked
        self._tools = tools
        self._generation = generation
        self._recorder = recorder
        self._refused: tuple[str, ...] = ()  # what the upstream was not sent
        self._turn_policy = replace(_turn_policy(about.request), in_text=guard.calls_in_text(about.key))
        plain = replace(self._turn_policy, enabled=False)
        self._unasked = _unasked(about, tools)
        as_emitted = about.mode in (GuardMode.off, GuardMode.observe)
        self._reader = AttemptReader(
            tools,
            generation,
            plain if as_emitted else self._turn_policy,
            self._unasked or (Doubt() if tools and about.mode in REASKING else None),
            verbatim=about.request.raw is not None,
        )
        watching = about.mode is GuardMode.observe
        self._observer = AttemptReader(tools, generation, self._turn_policy) if watching else None

    @property
    def session(self) -> str:
        """The id of the session that the request is counted to."""
        return self._about.key.session

    async def events(self) -> AsyncIterator[Event]:
        """The events of the answer. They end in exactly one Finish, or a RequestError is raised."""
        try:
            heard: list[Event] = []
            async for event in self._generation:
                match event:
                    case UpstreamStarted(prompt, cached):
                        yield Started(prompt, cached)
                        continue
                    case UpstreamExtra(fields):
                        yield AnswerExtra(fields)
                        continue
                    case UpstreamText() if event.scores:
                        yield Logprobs(event.scores)
                for delta in self._reader.feed(event):
                    self._recorder.shown()
                    heard.append(delta)
                    yield delta
                if self._observer is not None:
                    self._observer.feed(event)
                lost = self._reader.doomed and self._about.mode in REASKING
                if self._reader.stopped or lost:
                    ending = await self._generation.end()
                    for reader in filter(None, (self._reader, self._observer)):
                        reader.end(ending)
                    break
            settled = await self._settle()
        except RequestError as error:
            self._recorder.failed(error, self._reader)
            raise
        except Exception:  # it is raised on: only the record must not say that the client went away
            self._recorder.failed(InternalError("a defect of the server"), self._reader)
            raise
        for last in self._last(settled):
            heard.append(last)
            yield last
        self._guard.delivered(self._about.request, heard)

    async def aclose(self) -> None:
        self._recorder.left(self._reader)
        await self._generation.aclose()

    def _last(self, settled: TurnEnd) -> list[Event]:
        events: list[Event] = list(settled.rest)
        for index, call in enumerate(settled.calls):
            id = self._about.call_id()
            events.append(ToolCallReady(index, id, call.name, call.arguments, call.extra))
        finish = Finish(
            settled.reason,
            self._recorder.usage,
            settled.verdict,
            len(settled.fixes),
            self._recorder.attempts,
            cache=self._recorder.cache,
            given_up=settled.given_up,
            warnings=(*self._about.warnings, *self._refused),
            stop_sequence=settled.stop_sequence,
            session=self._about.key.session,
        )
        invalid = misfits(settled.calls, self._tools)
        handed_over = invalid if settled.given_up is not None else 0
        if invalid and not handed_over and self._about.mode in _JUDGING:
            _log.error(
                "%d calls are sent that do not fit their schemas: "
                "this is a defect of fortieth, please report it",
                invalid,
            )
        if events:
            self._recorder.shown()
        calls = len(settled.calls)
        self._recorder.settled(calls, settled.fixes, settled.problems, invalid - handed_over, handed_over)
        self._recorder.close(Ending.finished, finish)
        return [*events, finish]

    async def _settle(self) -> TurnEnd:
        """How the first generation ends: it is delivered, the model is asked again, or the guard gives up."""
        self._recorder.heard()
        attempt = self._reader.close()
        self._refused = attempt.warnings
        if attempt.emitted:
            self._guard.structured.note(self._about.key)
        if self._observer is not None:
            observed = self._observer.close()
            self._recorder.judged(observed)
            self._guard.note_drift(self._about, observed)
            return observed_turn(attempt, observed)
        self._recorder.judged(attempt)
        if self._about.mode is GuardMode.off:
            return unjudged_turn(attempt, bool(self._tools))
        self._guard.note_drift(self._about, attempt)
        problems = attempt.problems or self._refuse(attempt)
        if problems:
            return await self._mend(attempt, problems)
        ask = self._guard.policy.announce is Announce.nudge and self._about.mode in REASKING
        return await self._nudge(attempt) if ask and announces(self._asked, attempt) else deliver(attempt)

    def _refuse(self, attempt: Attempt) -> tuple[Problem, ...]:
        """Problems of an attempt whose calls are valid in themselves."""
        request = self._about.request
        if self._about.mode not in REASKING:
            return ()
        if self._unasked is not None:
            wrote = bool(attempt.emitted) or self._unasked.wrote_call(attempt.text)
            return (UNASKED,) if wrote else ()
        loop = refuse_loop(request, attempt.calls, self._guard.loops(request))
        return (loop,) if loop else ()

    async def _nudge(self, first: Attempt) -> TurnEnd:
        """Asks once for the call that was announced; an answer in words leaves the turn as it was."""
        limits = replace(self._guard.policy.reask, attempts=min(1, self._guard.policy.reask.attempts))
        turned = (await self._ask_again(first, (ANNOUNCED,), limits)).turned
        if turned is None or not turned.calls:
            return deliver(first)
        reason = FinishReason.tool_calls
        return TurnEnd(unshown(first), turned.calls, Verdict.reasked, reason, turned.fixes)

    async def _ask_again(self, first: Attempt, problems: tuple[Problem, ...], limits: ReaskLimits) -> Reasked:
        # finished, but an upstream counts the generation as running until it is closed
        await self._generation.aclose()
        self._recorder.asking_again()
        reask = Reask(self._guard.upstream, self._asked, self._tools, self._turn_policy, limits, self._refuse)
        try:
            return await reask.run(first, problems)
        finally:  # a client may also go away while the model is asked again
            self._recorder.reasked(reask.attempts)

    async def _mend(self, first: Attempt, problems: tuple[Problem, ...]) -> TurnEnd:
        policy = self._guard.policy
        if self._about.mode in REASKING:
            limits = policy.reask
            if self._unasked is not None:
                limits = replace(limits, attempts=min(1, limits.attempts))
            done = await self._ask_again(first, problems, limits)
            problems = done.problems
            if done.turned is not None:
                turned = done.turned
                rest = unshown(first) if turned.calls else answer_instead(first, turned.text)
                reason = FinishReason.tool_calls if turned.calls else FinishReason.stop
                return TurnEnd(rest, turned.calls, Verdict.reasked, reason, turned.fixes)
        if self._unasked is not None:
            reason = deliver(first).reason
            return TurnEnd(first.rest, (), Verdict.failed, reason, (), problems, GiveUp.text)
        given = give_up(
            self._about.give_up, first, problems, self._tools, self._turn_policy, self._recorder.attempts
        )
        return TurnEnd(given.rest, given.calls, Verdict.failed, given.reason, (), problems, given.how)


class Guard:
    """Opens exchanges with one upstream under one policy.

    sinks: get the record of each request.
    activity: knows what runs.
    """

    def __init__(
        self,
        upstream: Upstream,
        policy: GuardPolicy,
        sinks: Sequence[Sink] = (),
        activity: Activity | None = None,
    ) -> None:
        self.upstream = upstream
        self.policy = policy
        self.activity = activity or Activity()
        self.drift = DriftStore(policy.drift or DEFAULT_RULE)
        self.structured = StructuredSessions()
        self._sinks = tuple(sinks)
        self._foresight = upstream.capabilities.prefiller
        self._warned: set[str] = set()
        self._schemas = SchemaCompiler()

    async def open(self, request: ChatRequest, caller: Caller = NOBODY) -> Exchange:
        """Admits a request. The caller must aclose() the exchange, whatever happens.

        request.model: the id of a model that the upstream serves.

        Raises whatever can be known before the first token: BadRequest, Overloaded, UpstreamUnavailable.
        """
        self._measure(request, caller)
        tools, unvalidated = await self._schemas.compile(request)
        about = self._circumstances(request, caller, tools, unvalidated)
        asked = about.request
        if about.mode in REASKING and tools:
            asked = nudge(asked, self.loops(asked))
            about = replace(about, looping=asked is not about.request)
        recorder = Recorder(about, self._sinks, self.activity)
        try:
            generation = await self.upstream.open(asked)
        except RequestError as error:
            recorder.failed(error)
            raise
        except BaseException:
            recorder.left()
            raise
        recorder.admitted(str(generation.format))
        return Exchange(self, about, asked, tools, generation, recorder)

    def _measure(self, request: ChatRequest, caller: Caller) -> None:
        """Raises ContextTooLong before schemas are compiled, which may take longer than anything else of a
        request that is refused.
        """
        measure = self.upstream.capabilities.measure
        if measure is None:
            return
        try:
            measure(request)
        except RequestError as error:
            about = self._circumstances(request, caller, ToolSet(()), ())
            Recorder(about, self._sinks, self.activity).failed(error)
            raise

    def delivered(self, request: ChatRequest, events: Sequence[Event]) -> None:
        """Takes note that a client got all of a turn. request: as the client sent it."""
        reply = reply_of(request, events) if self._foresight is not None else None
        if self._foresight is not None and reply is not None:
            self._foresight.foresee(request, reply)

    def loops(self, request: ChatRequest) -> LoopLimits:
        """The loop limits, with the tools that this request declares as polling."""
        limits = self.policy.loops
        return replace(limits, polling=limits.polling | request.polling) if request.polling else limits

    def calls_in_text(self, key: SessionKey) -> InText:
        structured = self.upstream.capabilities.structured_calls
        return calls_in_text(structured, self.policy.leaked_calls, key in self.structured)

    def note_drift(self, about: RequestContext, attempt: Attempt) -> None:
        """Counts a turn in which the model tried to call."""
        if attempt.tried_to_call:
            valid = attempt.verdict is TurnVerdict.clean
            self.drift.note(about.key, about.turn, valid, constrained=about.request.constrained)

    def _circumstances(
        self, request: ChatRequest, caller: Caller, tools: ToolSet, unvalidated: tuple[str, ...]
    ) -> RequestContext:
        # a prompt without a conversation has no tools, and its text is what was asked for
        mode = GuardMode.off if request.raw else self.policy.mode_of(request.model, caller.mode)
        session = identify(request, caller.session)
        if request.hosted_tools and not self.upstream.capabilities.hosted_tools:
            request = request.without_hosted_tools()
        request = replace(request, session=session)
        key = SessionKey(request.model, session.id)
        callable_ = bool(tools) and request.tool_choice.mode is not ToolMode.none
        drifted = (
            mode in REASKING
            and callable_
            and self.policy.drift is not None
            and self.drift.look(key).escalated
        )
        if callable_ and (drifted or mode is GuardMode.constrain):
            request = replace(request, constrained=True)
        return RequestContext(
            request,
            mode,
            key,
            turn_of(request),
            caller.request_id,
            drifted=drifted,
            until=caller.until,
            give_up=caller.give_up or self.policy.give_up,
            warnings=self._warnings(request, unvalidated),
            call_id=caller.call_id,
        )

    def _warnings(self, request: ChatRequest, unvalidated: tuple[str, ...]) -> tuple[str, ...]:
        """What the codec left out, and what of the schemas is not validated. Each is logged once."""
        warnings = (*request.warnings, *(f"not validated: {one}" for one in unvalidated))
        for warning in warnings:
            if warning not in self._warned and len(self._warned) < _WARNED:
                self._warned.add(warning)
                _log.warning("%s", warning)
        return warnings


def _unasked(about: RequestContext, tools: ToolSet) -> Unasked | None:
    """How the model is asked for words, where it may not call a tool; None where that does not apply."""
    request = about.request
    if about.mode not in REASKING or (tools and request.tool_choice.mode is not ToolMode.none):
        return None
    return Unasked(tools, lambda: (message.text for message in request.messages), request.json_answer)


def _turn_policy(request: ChatRequest) -> TurnPolicy:
    choice = request.tool_choice
    # a tool that the provider runs is called there, and only its answer is seen here
    met = choice.mode is ToolMode.required and request.hosted_tools
    return TurnPolicy(
        tool_choice=ToolMode.auto.value if met else choice.mode.value,
        tool_name=choice.name if choice.mode is ToolMode.named else None,
        parallel=request.parallel_tool_calls,
        json_answer=request.json_answer,
        stops=request.sampling.stop,
    )
