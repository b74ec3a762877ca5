"""`fortieth demo`: one agent loop over the simulated tool world, played twice: guard off, then guard on.

It takes one engine, one HTTP server on a free port, and the client that also drives the evaluation. What the
model emitted is recorded between engine and guard, so that the screen can show it beside what the client got.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from rich.console import Console

from corpora.loops import WORLDS
from corpora.questions import held_out
from corpora.world.driver import Asking, Ended, Step, play_script
from corpora.world.script import Script, Task, write_script
from proxy.cli.demo_record import write_svg
from proxy.cli.demo_screen import PlayedArm, Screen, SeenTurn
from proxy.cli.interrupts import until_interrupted
from proxy.conversation.errors import StartError
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GuardMode
from proxy.guard.caller import GUARD_HEADER
from proxy.http.server import Stop, bind, run_http, start_upstream
from proxy.http.settings import Settings
from proxy.records.request_record import RequestRecord
from proxy.upstreams.base import Generation, Upstream, UpstreamEvent, UpstreamText
from proxy.upstreams.capabilities import Capabilities
from repair.formats import Wire

MODES = (GuardMode.off, GuardMode.full)
SESSION_HEADER = "x-session-id"
_TIMEOUT_S = 300.0
_PIPE_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Demo:
    """What is played.

    turns: tool turns of the loop, at least.
    seed: chooses the loop and the draws of the sampler.
    svg: a file that gets a picture of what happened.
    workload: "worlds", or "workshop" for an agent's tools over a project, with results as long as an agent's.
    """

    turns: int = 40
    seed: int = 5
    model: str = "fortieth-tiny-4bit"
    temperature: float = 1.5  # at 0 and 1 the bundled model hardly ever breaks a call
    svg: Path | None = None
    workload: str = "worlds"

    @property
    def title(self) -> str:
        return f"{self.model}, seed {self.seed}, temperature {self.temperature:g}"


def write_loop(demo: Demo) -> Script:
    """The loop of a seed over one of the toolboxes; never one that training has seen."""
    rng = held_out(demo.seed)
    return write_script(rng, rng.choice(WORLDS[demo.workload]), demo.turns)


def run_demo(demo: Demo, plain: bool) -> bool:
    """Plays the loop twice and prints it. plain: without colours, and nothing is drawn anew.

    Returns False where a request failed. Raises StartError, and KeyboardInterrupt on SIGINT and SIGTERM.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if demo.svg is not None:
        check_writable(demo.svg)
    good = asyncio.run(until_interrupted(demonstrate(demo, open_console(plain))))
    if good is None:
        raise KeyboardInterrupt
    return good


def check_writable(path: Path) -> None:
    """Raises StartError where a file cannot be written, before what would be written has taken minutes."""
    new = not path.exists()
    with _written(path):
        path.open("ab").close()
        if new:
            path.unlink()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raises StartError where the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from error


def open_console(plain: bool) -> Console:
    """The console. A pipe has no width of its own, and rich's 80 columns cut too much."""
    console = Console(highlight=False)
    if console.is_terminal and not plain:
        return console
    width = console.width if console.is_terminal else _PIPE_WIDTH
    return Console(highlight=False, color_system=None, force_terminal=False, width=width)


async def demonstrate(demo: Demo, console: Console) -> bool:
    """Plays the loop like run_demo, on any console."""
    script = write_loop(demo)
    settings = Settings(model=demo.model, port=0, log_level="error")
    screen = Screen(console, script, demo.title)
    asking = Asking(temperature=demo.temperature, seed=demo.seed)
    with screen.starting():
        witness = Witness(await start_upstream(settings))
    try:
        async with serving(witness, settings) as base_url:
            played = [await _play(base_url, mode, witness, script, asking, screen) for mode in MODES]
    finally:
        await witness.close()
    screen.compare(played)
    if demo.svg is not None:
        with _written(demo.svg):
            write_svg(demo.svg, demo.title, played)
    return all(one.run.ended is not Ended.failed for one in played)


async def _play(
    base_url: str, mode: GuardMode, witness: Witness, script: Script, asking: Asking, screen: Screen
) -> PlayedArm:
    """One loop under one mode, in a session of its own."""
    turns: list[SeenTurn] = []

    def watch(task: Task, step: Step) -> None:
        turns.append(witness.take())
        screen.show(task, step, turns[-1])

    headers = {GUARD_HEADER: mode.value, SESSION_HEADER: f"demo-{mode.value}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT_S) as client:
        with screen.loop(mode.value):
            run = await play_script(client, script, asking, watch)
    return PlayedArm(mode.value, run, tuple(turns))


@asynccontextmanager
async def serving(witness: Witness, settings: Settings) -> AsyncIterator[str]:
    """A server over a started upstream, on a port of its own: yields its base_url. Raises StartError."""
    stop, ready = Stop(), asyncio.Event()
    with bind(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        server = run_http(witness, settings, listener, stop, lambda _: ready.set(), [witness])
        work, waiting = asyncio.create_task(server), asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
            yield f"http://{settings.host}:{port}/v1"
        finally:
            waiting.cancel()
            stop.ask()
            await work


class Witness:
    """An upstream that passes everything on, and a sink of records: keeps both until they are taken."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._heard: list[OverheardGeneration] = []
        self._accounts: list[RequestRecord] = []

    @property
    def models(self) -> tuple[ModelCard, ...]:
        return self._upstream.models

    @property
    def capabilities(self) -> Capabilities:
        """Nothing is computed ahead, so that both arms pay for the same."""
        return replace(self._upstream.capabilities, sessions=None, prefiller=None, stats=None)

    async def open(self, request: ChatRequest) -> Generation:
        generation = OverheardGeneration(await self._upstream.open(request))
        self._heard.append(generation)
        return generation

    def record(self, account: RequestRecord) -> None:
        self._accounts.append(account)

    def take(self) -> SeenTurn:
        """What was seen since the last call: one text for each attempt, and the guard's record."""
        texts = tuple("".join(generation.parts) for generation in self._heard)
        account = self._accounts[-1] if self._accounts else None
        self._heard.clear()
        self._accounts.clear()
        return SeenTurn(texts, account)

    async def check(self) -> None:
        await self._upstream.check()

    async def close(self) -> None:
        await self._upstream.close()

    def abandon(self) -> None:
        self._upstream.abandon()


@dataclass(slots=True)
class OverheardGeneration:
    """A generation that is written down while it is read."""

    inner: Generation
    parts: list[str] = field(default_factory=list)

    @property
    def format(self) -> str | Wire:
        return self.inner.format

    @property
    def generation_prompt(self) -> str:
        return self.inner.generation_prompt

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        async for event in self.inner:
            if isinstance(event, UpstreamText):
                self.parts.append(event.text)
            yield event

    async def end(self) -> list[UpstreamEvent]:
        return await self.inner.end()

    async def aclose(self) -> None:
        await self.inner.aclose()
