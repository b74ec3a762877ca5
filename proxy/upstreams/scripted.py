"""An upstream for tests that plays a script: text in any pieces, calls, failures and stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from proxy.conversation.events import Usage
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.upstreams.base import (
    UpstreamCall,
    UpstreamEvent,
    UpstreamFinish,
    UpstreamReasoning,
    UpstreamStarted,
    UpstreamText,
)
from proxy.upstreams.capabilities import Capabilities
from repair.formats import Wire

STRUCTURED = Capabilities(structured_calls=True)


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing comes for this many seconds."""

    seconds: float


Step = str | UpstreamCall | UpstreamReasoning | Stall | Exception


@dataclass(frozen=True, slots=True)
class Script:
    """What one request is answered with: pieces of text, structured calls, stalls, or an error that ends it.

    admission: a stall before the request is admitted.
    refusal: raised instead of admitting the request.
    finish: "" ends the stream without a finish.
    repeated, stop_sequence: as in UpstreamFinish.
    started: the two counts of UpstreamStarted.
    format, generation_prompt: as in Generation.
    """

    steps: Sequence[Step] = ()
    finish: str = "stop"
    repeated: bool = False
    stop_sequence: str | None = None
    started: tuple[int | None, int | None] = (None, None)
    admission: Stall = Stall(0)
    refusal: Exception | None = None
    format: str | Wire = "auto"
    generation_prompt: str = ""
    usage: Usage = field(default_factory=lambda: Usage(prompt_tokens=7))


@dataclass(slots=True)
class Played:
    """What happened to one admitted request."""

    request: ChatRequest
    script: Script
    steps_played: int = 0
    tokens: int = 0
    finished: bool = False
    closed: bool = False


class ScriptedGeneration:
    def __init__(self, played: Played) -> None:
        self._played = played
        self.format = played.script.format
        self.generation_prompt = played.script.generation_prompt

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        script = self._played.script
        yield UpstreamStarted(*script.started)
        for step in script.steps:
            match step:
                case Exception():
                    raise step
                case Stall(seconds):
                    await asyncio.sleep(seconds)
                case str():
                    await asyncio.sleep(0)
                    self._played.tokens += 1
                    yield UpstreamText(step)
                case UpstreamCall() | UpstreamReasoning():
                    await asyncio.sleep(0)
                    self._played.tokens += step.tokens
                    yield step
            self._played.steps_played += 1
        if not script.finish:
            return
        self._played.finished = True
        yield UpstreamFinish(
            script.finish, self._usage(), repeated=script.repeated, stop_sequence=script.stop_sequence
        )

    def _usage(self) -> Usage:
        given = self._played.script.usage
        return Usage(given.prompt_tokens, self._played.tokens, given.cached_tokens)

    async def end(self) -> list[UpstreamEvent]:
        self._played.closed = True
        return [UpstreamFinish("stop", self._usage())]

    async def aclose(self) -> None:
        self._played.closed = True


class ScriptedUpstream:
    """Asks `choose` what to play for each request.

    played: the admitted requests in order.
    given_up: requests that were cancelled before they were admitted.
    health: what check() raises.
    checks: how often check() was called.
    """

    def __init__(
        self,
        choose: Callable[[ChatRequest], Script],
        model: str = "scripted",
        created: int = 0,
        capabilities: Capabilities = STRUCTURED,
    ) -> None:
        self._choose = choose
        self.models = (ModelCard(model, created, 4096, "fp_scripted"),)
        self.capabilities = capabilities
        self.played: list[Played] = []
        self.health: Exception | None = None
        self.checks = 0
        self.given_up = 0
        self.closed = False

    async def open(self, request: ChatRequest) -> ScriptedGeneration:
        script = self._choose(request)
        try:
            await asyncio.sleep(script.admission.seconds)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if script.refusal is not None:
            raise script.refusal
        played = Played(request, script)
        self.played.append(played)
        return ScriptedGeneration(played)

    async def check(self) -> None:
        self.checks += 1
        await asyncio.sleep(0)
        if self.health is not None:
            raise self.health

    async def close(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        """Does nothing: close() waits for nothing."""
