"""Asks the model again after a refused attempt, until one holds or attempts, time or tokens are used up."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import tenacity

from proxy.conversation.errors import BadRequest, ContextTooLong, RequestError
from proxy.conversation.message import Role
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.guard.asking import Way, ask_for_calls, choose_way, room_for, sampling_for, without_ours
from proxy.guard.attempt import Attempt, AttemptReader
from proxy.guard.attempt_record import record_of, record_of_rest
from proxy.guard.fork import extend
from proxy.guard.partial_turn import PartialTurn, Retry, Settled, keep_accepted, settle
from proxy.guard.policy import ReaskLimits
from proxy.guard.structured import ask_for_arguments, read_arguments
from proxy.records.request_record import AttemptRecord
from proxy.upstreams.base import Generation, Upstream
from repair.tools import Tool, ToolSet
from repair.turn import TurnPolicy
from repair.types import Problem

_log = logging.getLogger(__name__)
# of the time for asking again, for an attempt that is being written when it is over: what it cost is spent,
# and the turn would be lost
_WRITTEN = 1.5


@dataclass(frozen=True, slots=True)
class Reasked:
    """The result of asking again. turned: None where nothing could be saved. problems: then, those of the
    last attempt.
    """

    turned: Settled | None
    problems: tuple[Problem, ...]


class Reask:
    """Asks again for one refused turn. Call run() once; cancelling it stops the running generation.

    refuse: returns the problems of an attempt whose calls are valid in themselves.
    """

    def __init__(
        self,
        upstream: Upstream,
        request: ChatRequest,
        tools: ToolSet,
        policy: TurnPolicy,
        limits: ReaskLimits,
        refuse: Callable[[Attempt], tuple[Problem, ...]],
    ) -> None:
        self._upstream = upstream
        self._request = request
        self._tools = tools
        self._policy = policy
        self._limits = limits
        self._refuse = refuse
        self._messages = request.messages
        self._partial = PartialTurn()
        self._problems: tuple[Problem, ...] = ()
        self._attempts: list[AttemptRecord] = []
        self._tokens = 0
        self._room: int | None = None  # None: there are no tokens left for another attempt
        self._number = 0
        self._deadline: asyncio.Timeout | None = None
        self._began = 0.0
        self._repeated = False
        self._expected = 0  # tokens of the longest attempt
        self._unheld = False  # the upstream does not hold calls to a grammar
        self._plain = False  # the upstream refused a parameter that we added
        self._too_long = False  # the fork did not fit into the upstream's context

    async def run(self, first: Attempt, problems: tuple[Problem, ...]) -> Reasked:
        """Asks until the turn is settled or a bound is reached. An error of the upstream ends the asking.

        first: the attempt that was refused.
        problems: why it was refused.
        """
        self._partial = keep_accepted(first, problems, self._policy)
        self._problems = problems
        self._tell(first)
        self._room = self._room_after(first, first)
        self._repeated = first.repeated
        self._expected = first.usage.completion_tokens
        turned: Settled | None = None
        if self._has_room and self._limits.attempts > 0:
            turned = await self._repeat(first)
        return Reasked(turned, self._problems)

    @property
    def attempts(self) -> tuple[AttemptRecord, ...]:
        """The attempts made so far, a cancelled one included."""
        return tuple(self._attempts)

    def _tell(self, attempt: Attempt) -> None:
        """Adds the attempt and its problems to the fork. Its calls are only called right if they are kept."""
        problems = self._problems
        uncounted = any(problem.rule == "call_count" for problem in problems)
        if attempt.parts is not None and (uncounted or not self._partial.slots):
            count = len(attempt.parts.calls)
            attempt = replace(attempt, parts=None)
            if not self._policy.parallel and count > 1:
                problems += (Problem("", "parallel", f"one call was allowed, {count} came"),)
        self._messages = extend(self._messages, attempt, problems, self._tools)

    @property
    def _told(self) -> str:
        """All corrections of the fork."""
        ours = self._messages[len(self._request.messages) :]
        return "\n".join(message.text for message in ours if message.role is not Role.assistant)

    async def _repeat(self, first: Attempt) -> Settled | None:
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._limits.attempts),
            retry=tenacity.retry_if_result(lambda result: isinstance(result, Retry) and self._may_ask),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        try:
            async with asyncio.timeout(self._limits.seconds) as deadline:
                self._deadline, self._began = deadline, asyncio.get_running_loop().time()
                result: Settled | Retry = await retrying(self._once, first)
                return result if isinstance(result, Settled) else None
        except TimeoutError:
            if not deadline.expired():
                raise
            _log.warning("asking again took longer than %g s", self._limits.seconds)
        except RequestError as error:
            _log.warning("asking again failed: %s", error.message)
        return None

    def _allow(self, share: float) -> None:
        """Sets how much of the time for asking again may pass until this attempt is given up."""
        if self._deadline is not None:
            self._deadline.reschedule(self._began + share * self._limits.seconds)

    @property
    def _may_ask(self) -> bool:
        """Whether there is room and time for another attempt."""
        passed = asyncio.get_running_loop().time() - self._began
        return self._has_room and passed < self._limits.seconds

    @property
    def _has_room(self) -> bool:
        """Whether the client's limit and the token budget leave room for another attempt."""
        return self._room is not None

    async def _once(self, first: Attempt) -> Settled | Retry:
        self._allow(1.0)
        tool = self._tool_to_write()
        way = choose_way(
            self._number, self._limits.attempts, self._partial, self._problems, tool.name if tool else ""
        )
        if self._too_long and way is Way.correction:
            way = Way.untouched
        try:
            attempt = await self._hear(self._next_request(way, tool), way)
        except ContextTooLong:
            if way is not Way.correction or self._partial.kept:
                raise
            self._too_long = True
            self._number += 1
            return Retry(self._partial, self._problems)
        self._number += 1
        if attempt is None:
            self._room = None
            return Retry(self._partial, self._problems)
        if way is Way.structured and tool is not None:
            attempt = read_arguments(attempt, tool, self._tools, self._partial.may_answer)
        return self._settle(first, attempt)

    def _settle(self, first: Attempt, attempt: Attempt) -> Settled | Retry:
        problems = attempt.problems
        if not problems and not self._partial.kept:
            problems = self._refuse(attempt)
        result = settle(self._partial, attempt, problems, self._policy, self._told)
        if isinstance(result, Retry):
            self._partial, self._problems = result.partial, result.problems
            self._tell(attempt)
            self._room = self._room_after(first, attempt)
            self._repeated, self._unheld = attempt.repeated, attempt.unconstrained
            self._expected = max(self._expected, attempt.usage.completion_tokens)
        return result

    def _tool_to_write(self) -> Tool | None:
        """The tool whose arguments alone could be asked for: that of the one missing call, where no grammar
        holds it.
        """
        partial, choice = self._partial, self._request.tool_choice
        if not self._unheld or partial.open_ended or len(partial.missing) > 1:
            return None
        name = partial.only_tool
        if not partial.slots:
            name = choice.name if choice.mode is ToolMode.named else partial.begun
            name = name or (self._tools.names[0] if len(self._tools) == 1 else "")
        return self._tools.get(name) if name else None

    def _next_request(self, way: Way, tool: Tool | None) -> ChatRequest:
        request, partial = self._request, self._partial
        assert self._room is not None
        sampling = sampling_for(request.sampling, way, self._number, self._room, self._repeated)
        if way is Way.structured and tool is not None:
            asked = ask_for_arguments(request, tool, partial.may_answer, sampling)
        else:
            messages = self._messages if way is Way.correction else request.messages
            asked = ask_for_calls(request, messages, partial, sampling)
        asked = replace(asked, expected_tokens=self._expected)
        return without_ours(asked, request) if self._plain and way is not Way.structured else asked

    async def _hear(self, request: ChatRequest, way: Way) -> Attempt | None:
        """One more generation. A server that refuses it is asked once more without the parameters that we
        added.
        """
        try:
            return await self._generate(request, way)
        except ContextTooLong:
            raise
        except BadRequest as error:
            plain = without_ours(request, self._request)
            if plain == request or self._attempts[-1].usage.completion_tokens:
                raise
            _log.info("asked again without what was added, since the upstream refused it: %s", error.message)
            self._plain = way is not Way.structured
            return await self._generate(plain, way)

    async def _generate(self, request: ChatRequest, way: Way) -> Attempt | None:
        """One generation; None where it would exceed the token budget."""
        started = time.monotonic()
        reader: AttemptReader | None = None
        attempt: Attempt | None = None
        error = "over the budget of tokens"
        asked: tuple[str, ...] = ()
        try:
            generation = await self._upstream.open(request)
            try:
                reader = self._reader(request, generation)
                async for event in generation:
                    reader.feed(event)
                    if reader.tokens:
                        self._allow(_WRITTEN)
                    if self._tokens + reader.tokens > self._limits.tokens:
                        return None
                    if reader.stopped or reader.doomed or reader.tokens > (self._room or 0):
                        reader.end(await generation.end())
                        break
                attempt = reader.close()
                return attempt
            finally:
                await generation.aclose()
        except RequestError as failure:
            error, asked = failure.message, failure.asked
            raise
        except asyncio.CancelledError:
            error = "stopped"
            raise
        finally:
            how = (time.monotonic() - started, request.constrained)
            record = record_of(attempt, *how) if attempt else record_of_rest(reader, *how, error, asked)
            self._tokens += record.usage.completion_tokens
            self._attempts.append(replace(record, way=way.value))

    def _reader(self, request: ChatRequest, generation: Generation) -> AttemptReader:
        if request.tools:
            return AttemptReader(self._tools, generation, self._policy)
        return AttemptReader(ToolSet(()), generation, TurnPolicy(stops=request.sampling.stop))

    def _room_after(self, first: Attempt, last: Attempt) -> int | None:
        """Tokens for the next attempt; None where the client's limit or the token budget leaves none."""
        given = self._request.sampling.max_tokens
        received = self._received(first)
        cut = last is first and last.cut and not last.repeated
        if given is not None and cut and last.usage.completion_tokens >= given - received:
            return None  # the client's own limit cut the attempt, and the same room would be too small again
        room = room_for(given, received, last)
        return None if room < 1 or self._tokens >= self._limits.tokens else room

    def _received(self, first: Attempt) -> int:
        """Tokens of the first attempt that the client has or will get: those of the text shown and the calls
        kept.
        """
        kept = sum(len(call.name) + len(call.arguments) for call in self._partial.kept)
        size = max(
            1, len(first.text) + len(first.reasoning) + sum(len(one.arguments) for one in first.emitted)
        )
        share = math.ceil(first.usage.completion_tokens * min(1.0, kept / size))
        return first.shown_tokens + share
