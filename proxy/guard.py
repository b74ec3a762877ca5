"""One request: the upstream's text -> repair's turn -> the events that the client gets, and the verdict."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

from proxy.chat import (
    ChatRequest,
    Event,
    Finish,
    FinishReason,
    GuardMode,
    ToolCallReady,
    ToolMode,
    Verdict,
)
from proxy.errors import BadRequest, UpstreamUnavailable
from proxy.upstreams.base import Generation, Upstream, UpstreamFinish, UpstreamText
from repair.tools import SchemaError, ToolSet
from repair.turn import Outcome, Turn, TurnPolicy
from repair.types import ReasoningDelta, TextDelta
from repair.types import Verdict as TurnVerdict

_log = logging.getLogger(__name__)

# Nothing re-asks in the modes served here, so a turn that would have to be asked again has failed.
_VERDICTS = {
    TurnVerdict.none: Verdict.none,
    TurnVerdict.clean: Verdict.clean,
    TurnVerdict.repaired: Verdict.repaired,
    TurnVerdict.reask: Verdict.failed,
}


class Exchange:
    """An admitted request: read its events() once, then aclose(), which also aborts it half-way."""

    def __init__(self, generation: Generation, turn: Turn) -> None:
        self._generation = generation
        self._turn = turn
        self._reasoning_tokens = 0

    async def events(self) -> AsyncIterator[Event]:
        """Ends in exactly one Finish, or raises RequestError."""
        finish: UpstreamFinish | None = None
        async for event in self._generation:
            match event:
                case UpstreamText():
                    for delta in self._feed(event):
                        yield delta
                case UpstreamFinish():
                    finish = event
        if finish is None:
            raise UpstreamUnavailable("the upstream's stream ended without a finish")
        for last in self._close(finish):
            yield last

    async def aclose(self) -> None:
        await self._generation.aclose()

    def _feed(self, chunk: UpstreamText) -> list[TextDelta | ReasoningDelta]:
        deltas = self._turn.feed(chunk.text)
        if deltas and all(isinstance(delta, ReasoningDelta) for delta in deltas):
            self._reasoning_tokens += chunk.tokens
        return deltas

    def _close(self, finish: UpstreamFinish) -> list[Event]:
        outcome = self._turn.close(finish.reason)
        verdict = _VERDICTS[outcome.verdict]
        _report(verdict, outcome)
        events: list[Event] = list(outcome.events)
        for index, call in enumerate(outcome.calls):
            events.append(ToolCallReady(index, new_call_id(), call.name, call.arguments))
        events.append(
            Finish(
                _reason(finish, outcome),
                replace(finish.usage, reasoning_tokens=self._reasoning_tokens),
                verdict,
                len(outcome.fixes),
            )
        )
        return events


class Guard:
    """Opens exchanges with one upstream under one mode."""

    def __init__(self, upstream: Upstream, mode: GuardMode) -> None:
        self._upstream = upstream
        self._mode = mode

    async def open(self, request: ChatRequest) -> Exchange:
        """Raises whatever can be known before the first token: BadRequest, Overloaded, UpstreamUnavailable.

        The caller must aclose() the exchange, whatever happens.
        """
        tools = _compile(request)
        generation = await self._upstream.open(request)
        turn = Turn(tools, generation.format, self._policy(request), generation.generation_prompt)
        return Exchange(generation, turn)

    def _policy(self, request: ChatRequest) -> TurnPolicy:
        choice = request.tool_choice
        return TurnPolicy(
            tool_choice=choice.mode.value,
            tool_name=choice.name if choice.mode is ToolMode.named else None,
            parallel=request.parallel_tool_calls,
            enabled=self._mode is not GuardMode.off,
        )


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _compile(request: ChatRequest) -> ToolSet:
    try:
        return ToolSet.compile(request.tools)
    except SchemaError as error:
        if error.tool_name not in request.tool_paths:  # too many tools, say: no single one is to blame
            raise BadRequest(f"tools: {error}", param="tools") from error
        path = f"{request.tool_paths[error.tool_name]}.parameters"
        raise BadRequest(
            f"{path}: not a usable JSON Schema for tool {error.tool_name!r}: {error}",
            param=path,
            code="invalid_function_parameters",
        ) from error


def _reason(finish: UpstreamFinish, outcome: Outcome) -> FinishReason:
    if outcome.calls:
        return FinishReason.tool_calls
    return FinishReason.length if finish.reason == "length" else FinishReason.stop


def _report(verdict: Verdict, outcome: Outcome) -> None:
    if verdict is Verdict.failed:
        reasons = "; ".join(f"{p.rule} at {p.path or '/'}" for p in outcome.problems)
        _log.warning("no call of this turn can be executed: %s", reasons)
    elif outcome.fixes:
        _log.info("repaired: %s", ", ".join(f"{fix.kind} at {fix.path or '/'}" for fix in outcome.fixes))
