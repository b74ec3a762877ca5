"""Asking again: the model gets its attempt back with what was wrong, bounded in attempts, time and tokens."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import tenacity

from proxy.account import AttemptAccount
from proxy.chat import ChatRequest, Sampling, ToolChoice, ToolMode, Usage
from proxy.errors import RequestError
from proxy.guarding.attempt import Attempt, Listener
from proxy.guarding.fork import extend
from proxy.guarding.policy import ReaskLimits
from proxy.guarding.standing import Again, Standing, Turned, settle, stand
from proxy.upstreams.base import Upstream
from repair.tools import ToolSet
from repair.turn import TurnPolicy
from repair.types import Problem, ToolCall

_log = logging.getLogger(__name__)

# The first time a little freedom is left, since the conversation has changed; then none.
_TEMPERATURES = (0.3, 0.0)
# What a cut call is given where nobody set a limit: twice what it had, and at least this.
_LEAST_ROOM = 1024


@dataclass(frozen=True, slots=True)
class Reasked:
    """What asking again came to. turned: None where nothing could be saved; problems: then, the last ones."""

    turned: Turned | None
    problems: tuple[Problem, ...]


class Reask:
    """Asks again for one refused turn. run() once; cancelling it stops the generation that runs.

    refuse: what is wrong with calls that are right in themselves.
    """

    def __init__(
        self,
        upstream: Upstream,
        request: ChatRequest,
        tools: ToolSet,
        policy: TurnPolicy,
        limits: ReaskLimits,
        refuse: Callable[[Sequence[ToolCall]], tuple[Problem, ...]],
    ) -> None:
        self._upstream = upstream
        self._request = request
        self._tools = tools
        self._policy = policy
        self._limits = limits
        self._refuse = refuse
        self._messages = request.messages
        self._standing = Standing()
        self._problems: tuple[Problem, ...] = ()
        self._attempts: list[AttemptAccount] = []
        self._tokens = 0
        self._asked: Sampling | None = request.sampling

    async def run(self, first: Attempt, problems: tuple[Problem, ...]) -> Reasked:
        """first: the attempt that was refused for `problems`. Errors of the upstream end the asking."""
        self._standing = stand(first, problems, self._policy)
        self._problems = problems
        self._tell(first)
        self._asked = self._next_sampling(first, first)
        turned: Turned | None = None
        if self._has_room and self._limits.attempts > 0:
            turned = await self._repeat(first)
        return Reasked(turned, self._problems)

    @property
    def attempts(self) -> tuple[AttemptAccount, ...]:
        """Those made so far; one that was cancelled is among them."""
        return tuple(self._attempts)

    def _tell(self, attempt: Attempt) -> None:
        """Goes on with the fork: the attempt and its problems. Calls of it are only called right if they are
        kept.
        """
        problems = self._problems
        uncounted = any(problem.rule == "call_count" for problem in problems)
        if attempt.parts is not None and (uncounted or not self._standing.slots):
            count = len(attempt.parts.calls)
            attempt = replace(attempt, parts=None)
            if not self._policy.parallel and count > 1:
                problems += (Problem("", "parallel", f"one call was allowed, {count} came"),)
        self._messages = extend(self._messages, attempt, problems, self._tools)

    async def _repeat(self, first: Attempt) -> Turned | None:
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._limits.attempts),
            retry=tenacity.retry_if_result(lambda result: isinstance(result, Again) and self._has_room),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        try:
            async with asyncio.timeout(self._limits.seconds) as deadline:
                result: Turned | Again = await retrying(self._once, first)
                return result if isinstance(result, Turned) else None
        except TimeoutError:
            if not deadline.expired():
                raise
            _log.warning("asking again took longer than %g s", self._limits.seconds)
        except RequestError as error:
            _log.warning("asking again failed: %s", error.message)
        return None

    @property
    def _has_room(self) -> bool:
        """Whether the client's limit and the budget of tokens leave something for another attempt."""
        return self._asked is not None

    async def _once(self, first: Attempt) -> Turned | Again:
        attempt = await self._hear()
        if attempt is None:
            self._asked = None
            return Again(self._standing, self._problems)
        problems = attempt.problems
        if not problems and not self._standing.kept:
            problems = self._refuse(attempt.calls)
        result = settle(self._standing, attempt, problems, self._policy)
        if isinstance(result, Again):
            self._standing, self._problems = result.standing, result.problems
            self._tell(attempt)
            self._asked = self._next_sampling(first, attempt)
        return result

    async def _hear(self) -> Attempt | None:
        """One more generation; None where it would go over the budget of tokens."""
        started = time.monotonic()
        listener: Listener | None = None
        attempt: Attempt | None = None
        error = "over the budget of tokens"
        asked: tuple[str, ...] = ()
        try:
            generation = await self._upstream.open(self._next_request())
            try:
                listener = Listener(self._tools, generation, self._policy)
                async for event in generation:
                    listener.hear(event)
                    if self._tokens + listener.tokens > self._limits.tokens:
                        return None
                attempt = listener.close()
                asked = attempt.asked
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
            heard = listener.tokens if listener else 0
            usage = attempt.usage if attempt else Usage(completion_tokens=heard)
            self._tokens += usage.completion_tokens
            seconds = time.monotonic() - started
            self._attempts.append(
                AttemptAccount(
                    attempt.verdict if attempt else None,
                    attempt.fixes if attempt else (),
                    attempt.problems if attempt else (),
                    usage,
                    seconds,
                    constrained=True,
                    error="" if attempt else error,
                    unconstrained=attempt.unconstrained if attempt else False,
                    asked=asked,
                    text=listener.heard if listener and not attempt else "",
                    repeated=attempt.repeated if attempt else False,
                )
            )

    def _next_request(self) -> ChatRequest:
        """The fork, asked for what is missing: that tool alone where it is known and words would not do."""
        request, standing = self._request, self._standing
        choice = request.tool_choice
        if choice.mode is ToolMode.auto and not standing.may_answer:
            if standing.only_tool:
                choice = ToolChoice(ToolMode.named, standing.only_tool)
            elif standing.slots:
                choice = ToolChoice(ToolMode.required)
        one = len(standing.missing) == 1 and not standing.open_ended
        assert self._asked is not None
        return replace(
            request,
            messages=self._messages,
            tool_choice=choice,
            parallel_tool_calls=request.parallel_tool_calls and not one,
            sampling=self._asked,
            constrained=True,
            settled=standing.settled,
            fork=True,
        )

    def _next_sampling(self, first: Attempt, last: Attempt) -> Sampling | None:
        """Colder, but as warm as before where the last attempt repeated itself, which cold models do; within
        what the client may still receive. None where there is no room to ask again.
        """
        given = self._request.sampling
        limit = None if given.max_tokens is None else given.max_tokens - self._received(first)
        if last.cut and not last.repeated:
            if given.max_tokens is None:
                limit = max(2 * last.usage.completion_tokens, _LEAST_ROOM)
            elif last is first and last.usage.completion_tokens >= (limit or 0):
                return None  # it was the client's own limit, and the same room would be too small again
        if (limit is not None and limit < 1) or self._tokens >= self._limits.tokens:
            return None
        if last.repeated:
            return replace(given, max_tokens=limit)
        coldest = _TEMPERATURES[min(len(self._attempts), len(_TEMPERATURES) - 1)]
        temperature = coldest if given.temperature is None else min(given.temperature, coldest)
        return replace(given, max_tokens=limit, temperature=temperature)

    def _received(self, first: Attempt) -> int:
        """Tokens of the first attempt that the client has or will get: text shown, and calls kept."""
        kept = sum(len(call.name) + len(call.arguments) for call in self._standing.kept)
        size = max(
            1, len(first.text) + len(first.reasoning) + sum(len(one.arguments) for one in first.emitted)
        )
        share = math.ceil(first.usage.completion_tokens * min(1.0, kept / size))
        return first.shown_tokens + share
